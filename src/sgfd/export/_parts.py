"""Features that several workers wrote a part of each, joined exactly."""

from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from sgfd._checks import check_integer, check_path
from sgfd._distilled import Distilled
from sgfd._files import refuse_existing, replace_file
from sgfd._fingerprint import fingerprint
from sgfd.export._arrays import file_name
from sgfd.export._card import checked_blocks, read_card, write_card
from sgfd.export._npy import write_npy_header

PARTS = "parts"
# Rows of the raw features that tell one catalog from another.
_SAMPLED_ROWS = 64


class Part(NamedTuple):
    """Which items one worker writes.

    Attributes:
        rank: number of the part, from 0.
        world: how many there are.
        start: its first item.
        stop: one more than its last.
        chunk_size: a multiple of it is where a part begins.
    """

    rank: int
    world: int
    start: int
    stop: int
    chunk_size: int

    def card(self, folder: Path) -> Path:
        """Its card."""
        return folder / PARTS / f"{self.rank}-of-{self.world}.json"

    def of(self, path: Path) -> Path:
        """Its part of a file."""
        name = f"{path.stem}.{self.rank}-of-{self.world}{path.suffix}"
        return path.parent / PARTS / name


def checked_part(part: "tuple[int, int] | None", num_items: int, chunk_size: int) -> Part:
    """The items of a part, None for all; or ValueError for what is no part."""
    if part is None:
        part = (0, 1)
    if not isinstance(part, (tuple, list)) or len(part) != 2:
        raise ValueError(f"part must be (rank, world), e.g. (0, 4); got {part!r}.")
    check_integer("world, the second of part,", part[1], at_least=1)
    check_integer("rank, the first of part,", part[0], at_least=0, below=part[1])
    rank, world, chunk_size = map(int, (*part, chunk_size))
    chunks = -(-num_items // chunk_size)
    start, stop = (chunks * n // world * chunk_size for n in (rank, rank + 1))
    return Part(rank, world, min(start, num_items), min(stop, num_items), chunk_size)


def write_part_card(
    part: Part, folder: Path, model: Distilled, names: Mapping[str, str], dtype: "np.dtype[Any]"
) -> None:
    """Says what a part is, beside its files, once they are there."""
    content = {
        "rank": part.rank,
        "world": part.world,
        "rows": [part.start, part.stop],
        "num_items": len(model._labels),
        "chunk_size": part.chunk_size,
        "dtype": dtype.str,
        "joined": names,
        "widths": {m: model.student(m).weight.shape[0] for m in names},
        "run": _run(model),
    }
    files = {part.of(folder / name).name: {"modality": m} for m, name in names.items()}
    write_card(part.card(folder), "part of features", content, files, date=None)


def join_features(folder: "str | PathLike[str]", *, overwrite: bool = False) -> dict[str, Path]:
    """Join what ``stream_features`` wrote with ``part=``, each worker its part.

    The files are those that one worker would have written, byte for byte. Nothing is joined
    unless the parts are all there, each once, and of one run: the same students, features (by some
    of their rows), dtype, ``chunk_size`` and versions of sgfd and torch. Each part's size and
    SHA-256 must be what its card says; the file of a damaged one is not written. Parts are copied
    block by block, and kept: remove ``folder/parts`` once the files are there.

    Args:
        folder: that which the workers were given.
        overwrite: whether files that are there may be replaced.

    Returns:
        The path of each modality's file.

    Raises:
        FileNotFoundError: if a part, or a file of one, is not there.
        ValueError: for parts that are not of one run, or damaged.
        FileExistsError: if a file is there. Nothing has been written then.
        OSError: for a folder where a file is to be.

    Example:
        >>> import tempfile
        >>> from sgfd import distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.export import join_features, stream_features
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     for rank in range(2):  # each in a process of its own
        ...         _ = stream_features(model, folder, chunk_size=100, part=(rank, 2))
        ...     paths = join_features(folder)
        >>> sorted(path.name for path in paths.values())
        ['image_feat.npy', 'text_feat.npy']
    """
    folder = check_path("folder", folder)
    try:
        cards = _cards(folder)
        return _join(folder, cards, overwrite=overwrite)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(
            f"{folder / PARTS} must hold cards as stream_features writes them; one is not: "
            f"{error!r}."
        ) from None


def _join(folder: Path, cards: "list[dict[str, Any]]", *, overwrite: bool) -> dict[str, Path]:
    paths = {str(m): folder / file_name(name, "-") for m, name in cards[0]["joined"].items()}
    refuse_existing(list(paths.values()), overwrite=overwrite)
    for m, path in paths.items():
        replace_file(path, partial(_copy, folder=folder / PARTS, modality=m, cards=cards))
    return paths


def _copy(to: IO[bytes], folder: Path, modality: str, cards: "list[dict[str, Any]]") -> None:
    first = cards[0]
    dtype, width = first["dtype"], int(first["widths"][modality])
    write_npy_header(to, (first["num_items"], width), dtype)
    for card in cards:
        header, (start, stop) = BytesIO(), card["rows"]
        write_npy_header(header, (stop - start, width), dtype)
        skip = header.tell()
        for file, said in card["files"].items():
            if said["modality"] != modality:
                continue
            for block in checked_blocks(folder, file, said):
                to.write(block[skip:])
                skip = 0


def _cards(folder: Path) -> "list[dict[str, Any]]":
    """The cards of all parts, in order, checked to belong together."""
    found = sorted((folder / PARTS).glob("*-of-*.json"))
    if not found:
        raise FileNotFoundError(
            f"{folder / PARTS} holds no part: stream_features(model, folder, part=(rank, world)) "
            "writes them."
        )
    cards = [read_card(path, "part of features") for path in found]
    own = {"rank", "rows", "files"}
    runs = [{key: value for key, value in card.items() if key not in own} for card in cards]
    for path, run in zip(found, runs, strict=True):
        if run != runs[0]:
            keys = sorted(k for k in run | runs[0] if run.get(k) != runs[0].get(k))
            raise ValueError(
                f"{path.name} must be a part of the run that {found[0].name} is of; they differ "
                f"in {', '.join(keys)}. Remove {folder / PARTS} and have all parts written anew."
            )
    cards.sort(key=lambda card: int(card["rank"]))
    ranks, world = [card["rank"] for card in cards], int(runs[0]["world"])
    if missing := sorted(set(range(world)) - set(ranks)):
        raise FileNotFoundError(
            f"{folder / PARTS} must hold all {world} parts; {missing} are not there. Has their "
            "worker ended?"
        )
    if ranks != list(range(world)):
        raise ValueError(f"{folder / PARTS} must hold each part once; got parts {ranks}.")
    ends = [0, *(row for card in cards for row in card["rows"]), runs[0]["num_items"]]
    every = runs[0]["joined"].keys()
    complete = all({file["modality"] for file in c["files"].values()} == every for c in cards)
    if ends[::2] != ends[1::2] or not complete:
        raise ValueError(f"{folder / PARTS} must hold parts that meet, of every modality.")
    return cards


def _run(model: Distilled) -> dict[str, Any]:
    """What tells the features of one run from those of another, without reading them all."""
    last = len(model._labels) - 1
    rows = torch.linspace(0, last, min(last + 1, _SAMPLED_ROWS), dtype=torch.float64).round().long()
    found = {}
    for m in model.student_paths:
        student, digest = model.student(m), sha256(repr(model.student(m)).encode())
        for x in (
            student.weight,
            student.bias,
            model._rows(m, rows.to(model._labels.device)).values,
        ):
            if x is not None:
                digest.update(fingerprint(x)["sha256"].encode())
        found[m] = digest.hexdigest()
    return found
