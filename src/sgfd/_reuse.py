"""What the recommender's loss has computed already, for the distillation loss beside it."""

from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from sgfd._student import FeatureStudent


class Reuse:
    """Remembers, within a ``with`` block, what each student last read and gave.

    The recommender and the distillation loss read the same items through the same layer: where
    the rows are equal, one product serves both. Nothing is remembered beyond the block.
    """

    def __init__(self) -> None:
        self.on = False
        self._seen: dict[nn.Module, tuple[Tensor, Tensor, int]] = {}

    def __enter__(self) -> None:
        self.on = True

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.on = False
        self._seen.clear()

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """A forward hook of a student."""
        rows = self.on and len(args) == 1 and output.ndim == 2 and output.requires_grad
        if rows and not torch.compiler.is_compiling():
            self._seen[module] = (args[0], output, output._version)

    def embed(self, student: FeatureStudent, x: Tensor, rows: Tensor, num_items: int) -> Tensor:
        """``student.embed(x)`` of some items' features, from what is there if it is the same."""
        if student in self._seen:
            read, output, version = self._seen[student]
            whole = len(read) == num_items
            same = (
                output._version == version  # not changed in place since
                and read.dtype == x.dtype
                and (whole or len(read) == len(x))
                and torch.equal(read[rows] if whole else read, x)
            )
            if same and (known := student.embed_of(output[rows] if whole else output)) is not None:
                return known
        return student.embed(x)
