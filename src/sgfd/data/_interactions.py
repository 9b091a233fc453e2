"""Interactions as they come, checked and turned into matrices of ones."""

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array, issparse, sparray, spmatrix

from sgfd._checks import as_array

Interactions: TypeAlias = npt.ArrayLike | sparray | spmatrix
"""(n, 2) integers of (user, item), or a SciPy sparse (num_users, num_items)."""

_MAX_USERS = 2**31  # beyond it an index is surely a raw id, and the row pointers fill the memory


class Pairs(NamedTuple):
    """One part's interactions as they came, checked.

    Attributes:
        users: (n,) int64, 0 or more.
        items: (n,) int64, 0 or more.
        num_users: at least the largest user + 1.
        num_items: at least the largest item + 1.
        notes: what was repaired.
    """

    users: npt.NDArray[np.int64]
    items: npt.NDArray[np.int64]
    num_users: int
    num_items: int
    notes: tuple[str, ...] = ()


def check_pairs(value: Any, part: str) -> Pairs:
    """Checks the interactions of one part, which may be an array of pairs or sparse."""
    if issparse(value):
        return _sparse_pairs(value, part)
    if hasattr(value, "columns"):
        raise TypeError(
            f"{part} must be (n, 2), rows of (user, item), which a {type(value).__qualname__} with "
            f"columns {list(value.columns)} is only by chance. Use Dataset.from_pandas, or pass "
            "frame[[user, item]].to_numpy()."
        )
    pairs = as_array(part, value)
    if pairs.size == 0:
        empty = np.zeros(0, dtype=np.int64)
        return Pairs(empty, empty, 0, 0)
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(
            f"{part} must be (n, 2), rows of (user, item), or a SciPy sparse matrix; "
            f"got shape {pairs.shape}."
        )
    if pairs.dtype.kind not in "iu":
        raise ValueError(
            f"{part} must hold integer user and item indices; got dtype {pairs.dtype}. Dataset."
            "from_pandas maps ids of any kind to indices; whole numbers stored as floats need "
            ".astype('int64')."
        )
    if pairs.min() < 0:
        row = int(np.argmax((pairs < 0).any(axis=1)))
        raise ValueError(
            f"{part} must hold indices of 0 or more; got user {pairs[row, 0]}, item "
            f"{pairs[row, 1]} in row {row} ({int((pairs < 0).any(axis=1).sum()):,} such rows)."
        )
    if pairs.max() >= _MAX_USERS:
        raise ValueError(
            f"{part} must hold indices counted from 0; got {pairs.max()}, which looks like a raw "
            "id. Dataset.from_pandas maps raw ids to indices."
        )
    pairs = pairs.astype(np.int64)
    num_users, num_items = (pairs.max(axis=0) + 1).tolist()
    return Pairs(pairs[:, 0], pairs[:, 1], num_users, num_items)


def _sparse_pairs(matrix: Any, part: str) -> Pairs:
    coo = matrix.tocoo()
    there = coo.data != 0
    values = coo.data[there]
    if np.isnan(values).any():
        raise ValueError(f"{part} must not hold NaN; got {np.isnan(values).sum():,}.")
    notes = []
    if not there.all():
        notes.append(f"{part}: stored zeros left out: {int((~there).sum()):,}")
    if (values != 1).any():
        notes.append(
            f"{part}: values other than 1 taken as plain interactions: {int((values != 1).sum()):,}"
        )
    users, items = coo.row[there].astype(np.int64), coo.col[there].astype(np.int64)
    num_users, num_items = matrix.shape
    return Pairs(users, items, num_users, num_items, tuple(notes))


def interaction_matrix(
    pairs: Pairs, shape: tuple[int, int], part: str
) -> tuple[csr_array, list[str]]:
    """Makes a CSR matrix of ones, merging duplicate pairs, and says how many it merged."""
    num_items = shape[1]
    if pairs.num_items > num_items:
        beyond = int((pairs.items >= num_items).sum())
        raise ValueError(
            f"features must have one row per item, at least {pairs.num_items} for the items of "
            f"{part}; got {num_items} rows. {beyond:,} of its pairs name an item beyond them."
        )
    ones = np.ones(pairs.users.size, dtype=np.float32)
    matrix = csr_array((ones, (pairs.users, pairs.items)), shape=shape)
    matrix.sum_duplicates()
    matrix.data[:] = 1
    notes = list(pairs.notes)
    if merged := pairs.users.size - matrix.nnz:
        notes.append(f"{part}: duplicate pairs merged: {merged:,}")
    return matrix, notes


def check_disjoint(parts: Mapping[str, csr_array]) -> None:
    """Raises if a pair is in two parts: what is tested must not have been trained on."""
    names = list(parts)
    for index, first in enumerate(names):
        for second in names[index + 1 :]:
            both = parts[first].multiply(parts[second]).tocoo()
            if both.nnz:
                raise ValueError(
                    f"train, valid and test must not share a pair; {first} and {second} share "
                    f"{both.nnz:,}, such as user {both.row[0]}, item {both.col[0]}. Keep each "
                    f"pair in one part: repeat interactions are usually dropped from {second}."
                )
