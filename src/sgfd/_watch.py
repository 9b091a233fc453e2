"""Things that go wrong without any error, noticed while the first losses are taken."""

import warnings
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

# Losses taken before something that has not happened yet is said not to happen.
PATIENCE = 50
_COMPARED_ROWS = 1000


class DistillationWarning(UserWarning):
    """Distillation runs, but acts on less than it seems to."""


class FirstInput:
    """A forward pre-hook that keeps the first input of a layer."""

    def __init__(self) -> None:
        self.called = False
        self.value: Tensor | None = None

    def __call__(self, _: nn.Module, args: tuple[Tensor, ...]) -> None:
        if not self.called:
            self.called, self.value = True, args[0].detach()

    def take(self) -> Tensor | None:
        """The input, once: it may be as large as the catalog's features."""
        value, self.value = self.value, None
        return value


class Watch:
    """Notices a teacher that does not train and students that read something else or nothing."""

    def __init__(self, teacher: nn.Module, paths: Mapping[str, str], num_items: int) -> None:
        self.teacher, self.paths, self.num_items = teacher, dict(paths), num_items
        self.inputs = {m: FirstInput() for m in paths}
        self.losses = 0
        self.versions = self._versions()

    def after_loss(self, rows: Callable[[str, Tensor], Tensor], device: torch.device) -> None:
        """To be called once per distillation loss with gradient.

        Args:
            rows: (modality, item indices) -> raw features, as given to ``distill``.
            device: of the indices.
        """
        for m, first in self.inputs.items():
            if (value := first.take()) is not None:
                self._check_input(m, value, rows, device)
        if self.losses < PATIENCE:
            self.losses += 1
            if self.losses == PATIENCE:
                self._check_reach()

    def _check_input(
        self, m: str, value: Tensor, rows: Callable[[str, Tensor], Tensor], device: torch.device
    ) -> None:
        value = value.reshape(-1, value.shape[-1])
        where = f"The layer {self.paths[m]!r} (modality {m!r})"
        if len(value) > self.num_items:
            _warn(
                f"{where} was given {len(value)} rows, more than there are items "
                f"({self.num_items}): it also sees something else (users, say), which is not "
                "distilled."
            )
        elif len(value) == self.num_items:
            some = torch.arange(min(self.num_items, _COMPARED_ROWS), device=device)
            given = rows(m, some).detach().to(value.dtype)
            difference = float((value[: len(some)] - given).abs().max())
            if difference > 1e-3 * float(given.abs().max()):  # more than half precision explains
                _warn(
                    f"{where} was given other rows than features[{m!r}] (largest difference "
                    f"{difference:.3g}): the student learns from features that the recommender "
                    "does not read. Pass those that it reads, or their dotted path."
                )

    def _check_reach(self) -> None:
        if self.versions and self._versions() == self.versions:
            _warn(
                f"{PATIENCE} distillation losses were taken and no parameter of the teacher has "
                "changed: an optimizer made before distill() owns the students but not the "
                "teacher. Add model.teacher.parameters() to it, or, if the teacher was trained "
                "before, freeze it: model.teacher.requires_grad_(False)."
            )
        for m, first in self.inputs.items():
            if not first.called:
                _warn(
                    f"The layer {self.paths[m]!r} (modality {m!r}) was never called while "
                    f"{PATIENCE} losses were taken: the recommender does not read it. Name the "
                    "layer that it reads with projections=."
                )

    def _versions(self) -> list[int]:
        # An optimizer's step writes in place, which torch counts: no copy is needed to see it.
        return [p._version for p in self.teacher.parameters() if p.requires_grad]


def _warn(message: str) -> None:
    warnings.warn(message, DistillationWarning, stacklevel=5)
