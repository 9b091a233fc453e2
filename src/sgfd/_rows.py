"""Rows of raw features, and those read within a training loss, so that none is gathered twice."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sgfd._functional import versions, widen

# How many rows a mean is taken over: a memory map is not read through for it.
SAMPLED_ROWS = 1024


class Rows(NamedTuple):
    """Raw features of some items.

    Attributes:
        values: (n, F).
        present: (n,) bool, False where an item lacks the modality; None where none does.
    """

    values: Tensor
    present: Tensor | None

    @property
    def missing(self) -> Tensor:
        """(n,) bool, True where an item lacks the modality."""
        if self.present is None:
            return torch.zeros(len(self.values), dtype=torch.bool, device=self.values.device)
        return ~self.present


class _Read(NamedTuple):
    """Which rows were read of a table, and how often each tensor had been changed in place."""

    rows: Tensor | None
    found: Rows
    versions: tuple[int, ...]


class KeptRows:
    """What was read of a table within a loss, as long as nobody changes it in place."""

    def __init__(self) -> None:
        self._reads: list[_Read] = []

    def find(self, rows: Tensor | None, table: Tensor, dtype: torch.dtype) -> Rows | None:
        """The same rows (None for all) of a dtype, read before; None if they were not."""
        for read in self._reads:
            unchanged = versions(read.rows, read.found.values, table) == read.versions
            if unchanged and read.found.values.dtype == dtype and _same(read.rows, rows):
                return read.found
        return None

    def add(self, rows: Tensor | None, table: Tensor, found: Rows) -> None:
        """Keeps rows, unless a change of them would go unnoticed."""
        now = versions(rows, found.values, table)
        if now is not None:
            self._reads.append(_Read(rows, found, now))


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and a.device == b.device and a.equal(b))


def mean_row(read: Callable[[Tensor], Tensor], num_rows: int, present: Tensor | None) -> Tensor:
    """(F,) mean of up to 1024 rows that are there, spread evenly; NaN if none of them is."""
    rows = torch.linspace(0, num_rows - 1, min(num_rows, SAMPLED_ROWS), dtype=torch.float64)
    rows = rows.round().long()
    if present is not None and not present[rows].any():
        rows = present.nonzero().flatten()[:SAMPLED_ROWS]
    values = widen(read(rows).detach().cpu())
    return values[values.isfinite().all(dim=-1)].mean(0)


def missing_rows(values: Tensor, name: str) -> Tensor | None:
    """(n,) which rows are NaN throughout; None if none is. Other rows must be finite."""
    # A sum is finite only if all of it is: one pass over memory where nothing is amiss.
    if values.sum(dim=-1).isfinite().all():
        return None
    finite = values.isfinite().all(dim=-1)
    if finite.all():
        return None
    missing = values.isnan().all(dim=-1)
    bad = (~(finite | missing)).nonzero().flatten().tolist()
    if bad:
        raise ValueError(
            f"{name} must be finite; {len(bad)} of the rows read hold NaN or infinity, the first "
            f"at position {bad[0]}. Fill them in, or leave those items out. (A row of NaN "
            "throughout says that the item lacks this modality.)"
        )
    return missing
