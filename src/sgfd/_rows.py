"""Rows of raw features, and those read within a training loss, so that none is gathered twice."""

from typing import NamedTuple

import torch
from torch import Tensor

from sgfd._functional import versions


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

    def find(self, rows: Tensor | None, table: Tensor) -> Rows | None:
        """The same rows (None for all), read before; None if they were not."""
        for read in self._reads:
            unchanged = versions(read.rows, read.found.values, table) == read.versions
            if unchanged and _same(read.rows, rows):
                return read.found
        return None

    def add(self, rows: Tensor | None, table: Tensor, found: Rows) -> None:
        """Keeps rows, unless a change of them would go unnoticed."""
        now = versions(rows, found.values, table)
        if now is not None:
            self._reads.append(_Read(rows, found, now))


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is b or (a is not None and b is not None and a.device == b.device and a.equal(b))
