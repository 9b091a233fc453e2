"""What the recommender's loss has computed already, for the distillation loss beside it."""

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sgfd._features import FeatureTable
from sgfd._functional import same_memory, versions
from sgfd._student import FeatureStudent


class _Made(NamedTuple):
    """A student's last output, and all that it was made of, in the state in which it was."""

    given: Tensor
    output: Tensor
    weight: Tensor
    bias: Tensor | None
    versions: tuple[int, ...]
    autocast: bool

    def holds(self, student: FeatureStudent) -> bool:
        """Whether the student would make the same again."""
        # Not if one of them was changed in place, if the student was called with other
        # parameters (functional_call), or in another precision.
        return (
            student.weight is self.weight
            and student.bias is self.bias
            and versions(self.given, self.output, self.weight, self.bias) == self.versions
            and _autocast(self.output) == self.autocast
        )


class Product:
    """The last product of a student within a training loss.

    A recommender and its distillation loss read the same items through the same layer. Where that
    is certain (the very same rows, or the whole catalog), the second product is the first.
    """

    def __init__(self) -> None:
        self.kept = False
        self._made: _Made | None = None

    def after(self, student: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        """A forward hook of the student."""
        if not self.kept or not args or torch.compiler.is_compiling():
            return
        assert isinstance(student, FeatureStudent)
        given, weight, bias = args[0], student.weight, student.bias
        now = versions(given, output, weight, bias)
        if given.layout != torch.strided or now is None:
            return
        self._made = _Made(given, output, weight, bias, now, _autocast(output))
        if output.requires_grad:
            output.register_hook(self._spent)  # type: ignore[no-untyped-call]

    def _spent(self, _: Tensor) -> None:
        """A recommender that calls backward() within its loss frees the graph of the product."""
        self._made = None

    def forget(self) -> None:
        """At the end of the loss."""
        self.kept, self._made = False, None

    def embed(
        self, student: FeatureStudent, x: Tensor, rows: Tensor, source: "Tensor | FeatureTable"
    ) -> Tensor:
        """``student.embed(x)``, of the product taken before where there is one.

        Args:
            student: the student.
            x: (n, F) the rows' features.
            rows: (n,) item indices.
            source: of every item's features.
        """
        made, embedded = self._made, None
        if made is None or (torch.is_grad_enabled() and not made.output.requires_grad):
            return student.embed(x)
        if made.holds(student):
            whole = source.whole(made.given.dtype) if isinstance(source, FeatureTable) else source
            if made.given is x:
                embedded = student.embed_output(made.output)
            elif whole is not None and _same(made.given, whole):
                embedded = student.embed_output(made.output, rows)
        return student.embed(x) if embedded is None else embedded


def kept(products: Mapping[str, Product], tables: nn.ModuleDict) -> AbstractContextManager[None]:
    """Around a training loss: no row is gathered and no product taken twice."""
    # What is compiled may not look at values, nor keep anything.
    return nullcontext() if torch.compiler.is_compiling() else _kept(products, tables)


@contextmanager
def _kept(products: Mapping[str, Product], tables: nn.ModuleDict) -> Iterator[None]:
    try:
        with ExitStack() as stack:
            for table in tables.values():
                assert isinstance(table, FeatureTable)
                stack.enter_context(table.keeping())
            for product in products.values():
                product.kept = True
            yield
    finally:
        for product in products.values():
            product.forget()


def _autocast(x: Tensor) -> bool:
    return torch.is_autocast_enabled(x.device.type)


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether both are one tensor, or two without a gradient that look at the same memory."""
    return a is b or (same_memory(a, b) and not (a.requires_grad or b.requires_grad))
