"""What must hold of features, labels and ids, checked once, at the door."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sgfd._checks import as_array, check_mapping, check_order, check_sparse
from sgfd._labels import class_indices

if TYPE_CHECKING:
    from sgfd.data._dataset import Dataset

Labels: TypeAlias = npt.ArrayLike | Tensor | Sequence[str | None]
"""(num_items,) integers with -1 for unknown, or strings with None for unknown; or multi-hot,
(num_items, C) of 0 and 1 with rows of -1 for unknown."""


def check_features(features: Mapping[str, Any]) -> dict[str, npt.NDArray[np.float32]]:
    """Checks and converts features to float32, all with the same number of rows."""
    check_mapping("features", features)
    if not features:
        raise ValueError("features must hold at least one modality, {name: (num_items, F)}; got 0.")
    checked: dict[str, npt.NDArray[np.float32]] = {}
    for name, value in features.items():
        check_order(f"features[{name!r}]", value)
        array = as_array(f"features[{name!r}]", value)
        if array.ndim != 2 or 0 in array.shape:
            raise ValueError(
                f"features[{name!r}] must be (num_items, F), neither of them 0; "
                f"got shape {array.shape}."
            )
        if array.dtype.kind != "f":
            raise ValueError(
                f"features[{name!r}] must be floating point; got dtype {array.dtype}. "
                "Numbers of another kind, pandas' nullable ones too, need .astype('float32')."
            )
        with np.errstate(over="ignore"):  # reported below as infinite
            array = np.ascontiguousarray(array, dtype=np.float32)
        finite = np.isfinite(array)
        if not finite.all():
            missing = np.isnan(array).all(axis=1)
            if missing.all():
                raise ValueError(
                    f"features[{name!r}] must be there for some item; all its rows are NaN. "
                    "Leave it out."
                )
            finite[missing] = True
        if not finite.all():
            row, column = np.unravel_index(int(np.argmin(finite)), finite.shape)
            raise ValueError(
                f"features[{name!r}] must be finite in float32; got {int((~finite).sum()):,} NaN "
                f"or infinite values, the first in row {row}, column {column}. Fill or drop them; "
                "or make the whole row NaN where an item lacks the modality."
            )
        checked[name] = array
    rows = {name: array.shape[0] for name, array in checked.items()}
    if len(set(rows.values())) > 1:
        listed = ", ".join(f"{name!r}: {count}" for name, count in rows.items())
        raise ValueError(f"all features must have one row per item; got rows {{{listed}}}.")
    return checked


def check_labels(
    labels: Any, label_names: Sequence[str] | None, num_items: int
) -> tuple[npt.NDArray[np.int64] | None, tuple[str, ...]]:
    """Checks or encodes labels; returns int64 as ``Dataset.labels`` has them, and names."""
    if labels is None:
        if label_names is not None:
            raise ValueError("label_names need labels; got labels=None.")
        return None, ()
    check_order("labels", labels)
    array = as_array("labels", labels)
    check_names(label_names)
    if array.ndim == 2 and len(array) == num_items and array.shape[1] > 1:
        return _check_multi_hot(array, label_names)
    if array.shape != (num_items,):
        raise ValueError(f"labels must have one entry per item ({num_items}); got {array.shape}.")
    if array.dtype.kind in "OU":
        encoded = class_indices(array.tolist())
        if encoded.classes and label_names is not None:
            raise ValueError("label_names go with integer labels; these are strings, their names.")
        if encoded.classes:
            return encoded.labels.numpy(), encoded.classes
        array = encoded.labels.numpy()  # integers, some of them missing
    if array.dtype.kind not in "iu":
        raise ValueError(
            "labels must be integers, -1 for unknown, or strings, None for unknown; "
            f"got dtype {array.dtype}."
        )
    array = array.astype(np.int64)
    if array.min() < -1:
        item = int(np.argmin(array))
        raise ValueError(f"labels must be -1 (unknown) or more; got {array[item]} at item {item}.")
    num_classes = int(array.max()) + 1
    if label_names is None:
        if num_classes > num_items:
            raise ValueError(
                f"labels must count from 0, at most one class per item ({num_items}); got label "
                f"{num_classes - 1}, which looks like a raw id. Pass the ids as strings."
            )
        return array, tuple(str(label) for label in range(num_classes))
    if len(label_names) < num_classes:
        raise ValueError(
            f"label_names must name every label up to {num_classes - 1}, {num_classes} names; "
            f"got {len(label_names)}."
        )
    return array, tuple(label_names)


def check_names(label_names: Any) -> None:
    """Raises TypeError or ValueError for what names no classes."""
    if label_names is None:
        return
    check_order("label_names", label_names, by="class")
    names = list(label_names) if isinstance(label_names, Iterable) else []
    if (
        isinstance(label_names, str)
        or hasattr(label_names, "columns")
        or not all(isinstance(name, str) for name in names)
        or not names
    ):
        raise TypeError(f"label_names must be a sequence of strings; got {label_names!r}.")
    if len(set(names)) < len(names):
        raise ValueError(
            f"label_names must be distinct; got {len(names) - len(set(names))} repeats."
        )


def _check_multi_hot(
    array: npt.NDArray[Any], label_names: Sequence[str] | None
) -> tuple[npt.NDArray[np.int64], tuple[str, ...]]:
    if array.dtype.kind not in "biuf" or not np.isin(array, (0, 1, -1)).all():
        raise ValueError(
            "multi-hot labels (num_items, C) must be 1 where an item has a class, 0 where not and "
            f"-1 where unknown; got dtype {array.dtype} and other values."
        )
    num_classes = array.shape[1]
    names = tuple(map(str, range(num_classes))) if label_names is None else tuple(label_names)
    if len(names) != num_classes:
        raise ValueError(f"label_names must name all {num_classes} classes; got {len(names)}.")
    return array.astype(np.int64), names


def check_ids(
    user_ids: Sequence[Hashable] | None,
    item_ids: Sequence[Hashable] | None,
    num_users: int,
    num_items: int,
) -> int:
    """Checks that ids, if any, are enough and unique; returns the number of users."""
    for name, ids in (("user_ids", user_ids), ("item_ids", item_ids)):
        check_order(name, ids, by="row")
        if hasattr(ids, "columns"):
            raise TypeError(f"{name} must be a sequence of ids; got a {type(ids).__qualname__}.")
        try:
            repeats = 0 if ids is None else len(ids) - len(set(ids))
        except TypeError as error:
            raise TypeError(
                f"{name} must be a sequence of ids, each hashable; got {ids!r} ({error})."
            ) from None
        if repeats:
            raise ValueError(f"{name} must be unique; got {repeats:,} repeats.")
    if item_ids is not None and len(item_ids) != num_items:
        raise ValueError(f"item_ids must name {num_items} items; got {len(item_ids)}.")
    if user_ids is None:
        return num_users
    if len(user_ids) < num_users:
        raise ValueError(f"user_ids must name all {num_users} users; got {len(user_ids)}.")
    return len(user_ids)


def check_shapes(dataset: "Dataset") -> None:
    """Raises if the fields of a dataset are not of one catalog."""
    for name in ("train", "valid", "test"):
        check_sparse(name, getattr(dataset, name))
    check_mapping("features", dataset.features)
    shape = dataset.train.shape
    for part in (dataset.valid, dataset.test):
        if part.shape != shape:
            raise ValueError(f"train, valid, test must be of one shape, {shape}; got {part.shape}.")
    for name, array in dataset.features.items():
        if array.shape[0] != shape[1]:
            raise ValueError(
                f"features[{name!r}] must have one row per item ({shape[1]}); "
                f"got {array.shape[0]} rows."
            )
    if dataset.labels is not None and dataset.labels.shape[0] != shape[1]:
        raise ValueError(
            f"labels must have one entry per item ({shape[1]}); got {dataset.labels.shape}."
        )
