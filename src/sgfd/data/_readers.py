"""Readers of the two file layouts that multimodal recommendation shares its data in."""

import csv
import json
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from sgfd.data._assemble import Source

Table = npt.NDArray[np.int64]


def read_folder(folder: Path, modalities: Sequence[str] | None) -> Source:
    """Reads a folder in the SGFD or the MMRec layout, told apart by the files there."""
    if not folder.is_dir():
        raise FileNotFoundError(f"path must be a folder with a dataset; {folder} is none.")
    is_sgfd, tables = (folder / "train.csv").is_file(), sorted(folder.glob("*.inter"))
    if is_sgfd and not tables:
        return _read_sgfd(folder, modalities)
    if len(tables) == 1 and not is_sgfd:
        return _read_mmrec(folder, tables[0], modalities)
    files = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    raise ValueError(
        f"{folder} must hold one dataset: either train.csv, test.csv and Feature*_normal.npy (SGFD "
        f"layout), or one *.inter file and *_feat.npy (MMRec layout); it holds {files}."
    )


def _read_sgfd(folder: Path, modalities: Sequence[str] | None) -> Source:
    pairs = {}
    for part in ("train", "valid", "test"):
        path = folder / f"{part}.csv"
        if path.is_file():
            pairs[part] = _read_table(path, ("userID", "itemID"), delimiter=",")
    if "test" not in pairs:
        raise FileNotFoundError(f"the SGFD layout needs test.csv beside train.csv in {folder}.")
    found = {
        path.name.removeprefix("Feature").removesuffix("_normal.npy"): path
        for path in sorted(folder.glob("Feature*_normal.npy"))
    }
    labels_path, names_path = folder / "MetaData_normal.npy", folder / "label_names.json"
    labels = _read_array(labels_path) if labels_path.is_file() else None
    names = _read_names(names_path) if labels is not None and names_path.exists() else None
    features = _read_features(folder, found, modalities)
    return Source(pairs["train"], pairs.get("valid"), pairs["test"], features, labels, names)


def _read_mmrec(folder: Path, path: Path, modalities: Sequence[str] | None) -> Source:
    table = _read_table(path, ("userID", "itemID", "x_label"), delimiter="\t")
    pairs, part = table[:, :2], table[:, 2]
    if table.size and not np.isin(part, (0, 1, 2)).all():
        strange = np.unique(part[~np.isin(part, (0, 1, 2))])
        raise ValueError(
            f"x_label in {path} must be 0 (train), 1 (valid) or 2 (test); got {strange.tolist()}."
        )
    found = {p.name.removesuffix("_feat.npy"): p for p in sorted(folder.glob("*_feat.npy"))}
    features = _read_features(folder, found, modalities)
    return Source(pairs[part == 0], pairs[part == 1], pairs[part == 2], features)


def _read_table(path: Path, columns: Sequence[str], *, delimiter: str) -> Table:
    """Reads some columns of integers, found by the header, in the order asked for."""
    try:
        with path.open(encoding="utf-8-sig") as file:  # a byte order mark is no part of a name
            header = _header(file.readline(), delimiter)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be a text file in UTF-8; {error}.") from None
    # Tables with tabs have no quoted cells: a quote there is one of a title, say.
    quote = '"' if delimiter == "," and b'"' in path.read_bytes() else None
    if missing := [name for name in columns if header.count(name) != 1]:
        raise ValueError(
            f"the first line of {path} must name the columns {', '.join(columns)}, each once; "
            f"{', '.join(missing)} is not there once in {header}."
        )
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=DeprecationWarning)  # old NumPy: 4.5 read as 4
        warnings.filterwarnings("ignore", "loadtxt: input contained no data")
        try:
            table: Table = np.loadtxt(
                path,
                dtype=np.int64,
                comments=None,
                delimiter=delimiter,
                quotechar=quote,
                skiprows=1,
                usecols=[header.index(name) for name in columns],
                ndmin=2,
                encoding="utf-8-sig",
            )
        except (ValueError, OverflowError, DeprecationWarning) as error:
            raise ValueError(
                f"{path} must hold integers in {', '.join(columns)}; {error} (rows counted from 0 "
                "below the header). Dataset.from_pandas maps ids of any kind to indices."
            ) from error
    if quote:
        _check_quotes(path, len(table))
    return table


def _check_quotes(path: Path, num_rows: int) -> None:
    """Raises ValueError where a quote has swallowed rows of a CSV."""
    with path.open(encoding="utf-8-sig") as file:
        num_lines = sum(1 for line in file if line.strip()) - 1  # the header
    if num_rows not in (num_lines, _num_records(path)):
        raise ValueError(
            f"{path} must have one row per line; its {num_lines:,} lines hold {num_rows:,} rows, "
            'since a cell that begins with " goes on after its line. Write no other columns, '
            'or quote such cells, with "" for each ".'
        )


def _num_records(path: Path) -> int:
    """Rows below the header of a CSV whose quoted cells may hold line breaks; -1 for no CSV."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            return sum(1 for row in csv.reader(file, strict=True) if row) - 1
    except csv.Error:
        return -1


def _header(line: str, delimiter: str) -> list[str]:
    """The names of the columns, which may be quoted."""
    if delimiter != "," or len(line) > 100_000:  # as far as csv goes, about
        return [name.strip().strip('"') for name in line.split(delimiter)]
    return [name.strip() for name in next(csv.reader([line], skipinitialspace=True), [])]


def _read_features(
    folder: Path, found: dict[str, Path], modalities: Sequence[str] | None
) -> dict[str, npt.NDArray[Any]]:
    if not found:
        raise FileNotFoundError(
            f"no features in {folder}: it needs Feature*_normal.npy (SGFD layout) or *_feat.npy "
            "(MMRec layout), one file per modality."
        )
    if modalities is None:
        modalities = list(found)
    if isinstance(modalities, str) or not isinstance(modalities, Iterable):
        raise TypeError(f"modalities must be a list of names; got {modalities!r}.")
    modalities = list(modalities)
    if strange := [name for name in modalities if not isinstance(name, str)]:
        raise TypeError(f"modalities must be names, strings; got {strange[0]!r} among them.")
    if not modalities or len(set(modalities)) < len(modalities):
        raise ValueError(f"modalities must name one or more, each once; got {modalities}.")
    if unknown := [name for name in modalities if name not in found]:
        raise ValueError(
            f"modalities must be among those in {folder}, {', '.join(found)}; "
            f"got {', '.join(map(repr, unknown))}."
        )
    return {name: _read_array(found[name]) for name in modalities}


def _read_array(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    # BadZipFile: of a file that begins like an .npz; MemoryError: of a header that lies.
    except (ValueError, EOFError, OSError, BadZipFile, MemoryError) as error:
        raise ValueError(
            f"{path} must be a plain NumPy array; it could not be read ({error}). Pickled objects "
            "are refused, since reading one can run code."
        ) from error
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{path} must be a plain NumPy array, one; got an archive of several.")
    return array


def _read_names(path: Path) -> tuple[str, ...]:
    try:
        names = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:  # what is no JSON, or no text, is a ValueError
        raise ValueError(f"{path} must be a JSON list of strings; {error}.") from None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{path} must be a list of strings, the name of label 0, 1, ...")
    return tuple(names)
