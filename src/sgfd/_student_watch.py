"""What a student is given while the recommender trains, and whether a loss reaches it."""

from typing import Any, cast

import torch
from torch import Tensor, nn

from sgfd._inputs import Given

# Losses (or steps) before something that has not happened yet is said not to happen.
PATIENCE = 50
# Calls of a layer within one loss whose rows are kept to be looked at.
_CALLS = 64


class StudentWatch:
    """Hooks on a student: what it reads, and whether the recommendation loss reaches it."""

    def __init__(self, backbone: nn.Module) -> None:
        self.backbone = backbone
        self.steps, self.version = 0, -1  # how often its weight changed between two calls
        self.called = False  # in training, though it were in eval() or without a gradient
        self.ran = False  # with a gradient: the recommender is being trained
        self.reached = False
        self.compiled = False
        self.wants_input = True
        self._input: tuple[Tensor, bool] | None = None
        self._read: list[Tensor] | None = None

    def attach(self, student: nn.Module) -> list[Any]:
        """Puts both hooks on, and gives their handles."""
        return [
            student.register_forward_pre_hook(self.before),
            student.register_forward_hook(self.after),
        ]

    def before(self, module: nn.Module, _: tuple[Any, ...]) -> None:
        """A forward pre-hook. ``embed``, which the distillation losses read, does not come here."""
        if torch.compiler.is_compiling():
            self.compiled = True  # nothing is known of it then
        elif self.backbone.training:
            self.called = True
            if not (module.training and torch.is_grad_enabled()):
                return
            self.ran = True
            weight = cast("nn.Linear", module).weight
            if self.steps < PATIENCE and weight.requires_grad and weight._version != self.version:
                self.steps, self.version = self.steps + 1, weight._version

    def after(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """A forward hook, which knows what other hooks made of the input."""
        if torch.compiler.is_compiling() or not self.backbone.training:
            return None
        if module.training and torch.is_grad_enabled():
            for rows in args[:1]:  # none where it was called by keyword
                self._keep(rows)
        if self.reached or not output.requires_grad:
            return None
        # A view: what is made of the output elsewhere (by the distillation loss) does not count.
        output = output.view_as(output)
        output.register_hook(self._mark)  # type: ignore[no-untyped-call]
        return output

    def begin(self) -> None:
        """To be called before a loss whose calls are all of one batch."""
        self._read = [] if self.wants_input or self._input is not None else None

    def take(self) -> Given | None:
        """The first input, once, and all of this batch's, if known: they may be large."""
        first, self._input = self._input, None
        read, self._read = self._read or [], None
        return None if first is None else Given(*first, read if len(read) < _CALLS else [])

    def _keep(self, rows: Tensor) -> None:
        if rows.layout != torch.strided:
            return
        if self.wants_input:
            self.wants_input = False
            self._input = rows.detach(), rows.requires_grad
        if self._read is not None and len(self._read) < _CALLS:
            self._read.append(rows.detach())

    def _mark(self, gradient: Tensor) -> None:
        self.reached = self.reached or bool(gradient.any())
