"""Vectors of users and items, and item features, with a card that says what they are."""

import datetime as dt
import json
from collections.abc import Hashable, Iterable, Mapping, Sequence
from numbers import Integral
from os import PathLike
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from sgfd._checks import check_path
from sgfd._extra import needed
from sgfd._features import FeatureSource
from sgfd._files import refuse_existing, write_bytes
from sgfd._top_items import check_vectors
from sgfd.export._arrays import file_name, save_features
from sgfd.export._card import write_card
from sgfd.export._checks import checked_features, checked_rows
from sgfd.export._safetensors import write_safetensors

CARD = "card.json"


class _Table(NamedTuple):
    holds: str  # "vectors" or "features"
    rows: str  # "users" or "items"
    name: str  # that of the tensor in a safetensors file: users, items or the modality
    values: Tensor


def save_vectors(
    folder: "str | PathLike[str]",
    vectors: "tuple[FeatureSource, FeatureSource] | None" = None,
    *,
    features: "Mapping[str, FeatureSource] | None" = None,
    user_ids: Sequence[Hashable] | None = None,
    item_ids: Sequence[Hashable] | None = None,
    npy: bool = False,
    date: dt.date | None = None,
    overwrite: bool = False,
) -> Path:
    """Write user and item vectors, item features, or both, with a card, for serving.

    ``card.json`` says what each file holds (shape, dtype, which row is what), its size and SHA-256,
    and the versions of sgfd and torch. ``load_vectors`` reads the folder back and refuses what
    does not fit its card; anything that reads safetensors or ``.npy`` reads the files, which hold
    one table each.

    VBPR, GRCN and BM3 have vectors, ``model.vectors()``. MAML has none (its scores are not inner
    products): write its features alone. Of another recommender, give whatever two tables its
    scores are the inner products of.

    Args:
        folder: is made if need be.
        vectors: users (num_users, D) and items (num_items, D), such that ``users @ items.T`` are
            the scores; None to write features alone.
        features: ``{modality: (num_items, D_m)}``, as ``model.export()`` gives them; None for none.
        user_ids: the id of each row of the users, strings or integers, all different
            (``dataset.user_ids``); None where the row numbers are the ids.
        item_ids: likewise of the items, and of the features.
        npy: write NumPy files of float32, which needs no extra; by default safetensors, which
            keep the dtype. Features are named as ``save_features`` names them.
        date: for the card; None for none, so that the same vectors give the same bytes.
        overwrite: whether files that are there may be replaced. The card is replaced last: after
            a kill in between, ``load_vectors`` refuses the mixture.

    Returns:
        The path of the card.

    Raises:
        ImportError: without safetensors (extra ``export``), unless ``npy``.
        TypeError: for what is no pair of tables, no mapping of tables, or no ids.
        ValueError: if there is nothing to write, if a table is not (rows, width), floating and
            finite, or if widths, rows or ids do not match.
        FileExistsError: if a file is there. Nothing has been written then.
        OSError: for a file where a folder is to be, or a folder where a file is to be.

    Example:
        >>> import tempfile
        >>> from sgfd import distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.export import load_vectors, save_vectors
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     card = save_vectors(folder, model.vectors(), features=model.export())
        ...     found = load_vectors(folder)
        >>> found.users.shape, found.items.shape, found.features["image"].shape
        (torch.Size([1500, 193]), torch.Size([800, 193]), torch.Size([800, 64]))
    """
    if not npy:
        needed("safetensors.torch", "save_vectors", " npy=True writes NumPy files without it.")
    tables = _tables(vectors, features, npy=npy)
    counts = {t.rows: len(t.values) for t in tables.values()}
    ids = {
        f"{rows}_ids.json": (f"{rows}s", _checked_ids(f"{rows}_ids", given, counts.get(f"{rows}s")))
        for rows, given in (("user", user_ids), ("item", item_ids))
        if given is not None
    }
    folder = check_path("folder", folder)
    refuse_existing([folder / name for name in (*tables, *ids, CARD)], overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)

    files: dict[str, dict[str, object]] = {}
    for file, t in tables.items():
        if npy:
            save_features({t.name: t.values}, folder, pattern=file, overwrite=True)
        else:
            write_safetensors({t.name: t.values}, folder / file, row=t.rows[:-1])
        files[file] = {
            "holds": t.holds,
            "name": t.name,
            "rows": t.rows,
            "shape": list(t.values.shape),
            "dtype": str(t.values.dtype).removeprefix("torch."),
        }
    for file, (rows, values) in ids.items():
        write_bytes(folder / file, json.dumps(values, ensure_ascii=False).encode())
        files[file] = {"holds": "ids", "rows": rows}
    content = {
        "modalities": [t.name for t in tables.values() if t.holds == "features"],
        "scores": None if vectors is None else "users @ items.T",
        "rows": {
            rows: f"{count} rows: number n is number n of the {rows} in the training interactions"
            for rows, count in counts.items()
        },
        "num_rows": counts,
    }
    write_card(folder / CARD, "vectors", content, files, date=date)
    return folder / CARD


def _tables(
    vectors: "tuple[FeatureSource, FeatureSource] | None",
    features: "Mapping[str, FeatureSource] | None",
    *,
    npy: bool,
) -> dict[str, _Table]:
    """Every table by the name of its file, checked."""
    suffix = ".npy" if npy else ".safetensors"
    tables: dict[str, _Table] = {}
    if vectors is not None:
        users, items = _checked_pair(vectors)
        tables[f"users{suffix}"] = _Table("vectors", "users", "users", users)
        tables[f"items{suffix}"] = _Table("vectors", "items", "items", items)
    for m, x in ({} if features is None else checked_features(features)).items():
        tables[file_name("{modality}_feat" + suffix, m)] = _Table("features", "items", str(m), x)
    if not tables:
        raise ValueError("save_vectors needs vectors, features or both; got neither.")
    # By file: a modality may be called "items".
    rows = {file: len(t.values) for file, t in tables.items() if t.rows == "items"}
    if len(set(rows.values())) > 1:
        raise ValueError(f"Items and features must have one row per item; got rows {rows}.")
    if npy:
        for file, t in tables.items():
            single = checked_rows(f"{t.name} in float32, which is written,", t.values.float())
            tables[file] = t._replace(values=single)
    return tables


def _checked_pair(vectors: "tuple[FeatureSource, FeatureSource]") -> tuple[Tensor, Tensor]:
    users, items = check_vectors(vectors)
    return checked_rows("users", users), checked_rows("items", items)


def _checked_ids(name: str, given: Sequence[Hashable], rows: int | None) -> list[str | int]:
    if rows is None:
        raise ValueError(f"{name} name the rows of vectors, and none are given. Leave them out.")
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else [None]
    ids: list[str | int] = []
    for i in listed:
        if not isinstance(i, (str, Integral)):
            raise TypeError(
                f"{name} must be strings or integers, one for each of the {rows} rows; got {i!r} "
                f"in {type(given).__qualname__}."
            )
        ids.append(i if isinstance(i, str) else int(i))
    if len(ids) != rows or len(set(ids)) != rows:
        raise ValueError(
            f"{name} must name each of the {rows} rows, all differently; got {len(ids)} ids, "
            f"{len(set(ids))} of them different."
        )
    return ids
