"""Things that go wrong without any error, noticed while the first losses are taken."""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Losses taken before something that has not happened yet is said not to happen.
PATIENCE = 50
_COMPARED_ROWS = 1000

ReadRows = Callable[[str, Tensor], tuple[Tensor, Tensor | None]]


class DistillationWarning(UserWarning):
    """Distillation runs, but acts on less than it seems to."""


class StudentWatch:
    """Hooks on a student: what it first reads, and whether the recommendation loss reaches it."""

    def __init__(self) -> None:
        self.called = False
        self.reached = False
        self.wants_input = True
        self._input: Tensor | None = None

    def before(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        """A forward pre-hook. ``embed``, which the distillation losses read, does not come here."""
        if not _training(module):
            return
        self.called = True
        if self.wants_input and args:
            self.wants_input, self._input = False, args[0].detach()

    def after(self, module: nn.Module, _: tuple[Any, ...], output: Tensor) -> Tensor | None:
        """A forward hook."""
        if self.reached or not _training(module) or not output.requires_grad:
            return None
        # A view for the recommender alone: the distillation loss may read the output itself.
        output = output.view_as(output)
        output.register_hook(self._mark)  # type: ignore[no-untyped-call]
        return output

    def take(self) -> Tensor | None:
        """The input, once: it may be as large as the catalog's features."""
        value, self._input = self._input, None
        return value

    def _mark(self, gradient: Tensor) -> None:
        self.reached = self.reached or bool(gradient.any())


class Watch:
    """Notices a teacher that does not train and students that read something else or nothing."""

    def __init__(
        self,
        teacher: nn.Module,
        students: Mapping[str, nn.Linear],
        paths: Mapping[str, str],
        num_items: int,
    ) -> None:
        self.teacher, self.layers, self.paths = teacher, dict(students), dict(paths)
        self.num_items = num_items
        self.students = {m: StudentWatch() for m in paths}
        self.losses = 0
        self.start: list[Tensor] = []

    def after_loss(self, rows: ReadRows, device: torch.device) -> None:
        """To be called once per distillation loss with gradient.

        Args:
            rows: (modality, item indices) -> raw features, as given to ``distill``, and which of
                them are there.
            device: of the indices.
        """
        if self.losses == 0:
            self.start = self._probes()
        for m, student in self.students.items():
            if (value := student.take()) is not None:
                problem = self._problem_with(m, value.reshape(-1, value.shape[-1]), rows, device)
                if problem is not None:
                    _warn(f"The layer {self.paths[m]!r} (modality {m!r}) was given {problem}")
        # Before the recommender has been run at all, a teacher may be warmed up by itself.
        if self.losses < PATIENCE and any(student.called for student in self.students.values()):
            self.losses += 1
            if self.losses == PATIENCE:
                self._check_teacher()
                self._check_students()
                for student in self.students.values():
                    # Once more: features that the recommender trains have moved by now.
                    student.wants_input = True

    def _problem_with(
        self, m: str, value: Tensor, rows: ReadRows, device: torch.device
    ) -> str | None:
        problem = ""
        if len(value) < self.num_items:
            return None  # a batch's rows, of items that only the recommender knows
        if len(value) > self.num_items:
            problem = (
                f"{len(value)} rows, more than there are items ({self.num_items}): it also sees "
                "something else (users, say), which is not distilled. "
            )
        some = torch.arange(min(self.num_items, _COMPARED_ROWS), device=device)
        given, present = rows(m, some)
        given = given.detach().to(value.dtype)
        if present is not None:
            # What a recommender holds for items that lack the modality is its own affair.
            some, given = some[present], given[present]
            if len(some) == 0:
                return problem or None
        # With users beside them, items come first or last.
        difference = min(
            float((value[some + at] - given).abs().max()) for at in {0, len(value) - self.num_items}
        )
        if difference > 1e-3 * float(given.abs().max()):  # more than half precision explains
            problem += (
                f"other rows than features[{m!r}] (largest difference {difference:.3g}): the "
                "student learns from features that the recommender does not read. Pass those that "
                "it reads, or their dotted path if it trains them."
            )
        return problem or None

    def _check_teacher(self) -> None:
        now = self._probes()
        student_moved, teacher_moved = (
            any(not torch.equal(a, b) for a, b in zip(self.start[part], now[part], strict=True))
            for part in (slice(1), slice(1, None))
        )
        if student_moved and not teacher_moved and len(now) > 1:
            _warn(
                f"While {PATIENCE} distillation losses were taken the students changed and the "
                "teacher did not: an optimizer made before distill() owns the students but not the "
                "teacher. Add model.teacher.parameters() to it, or, if the teacher was trained "
                "before, freeze it: model.teacher.requires_grad_(False)."
            )

    def _check_students(self) -> None:
        for m, student in self.students.items():
            where = f"The layer {self.paths[m]!r} (modality {m!r})"
            if not student.called:
                _warn(
                    f"{where} was never called while {PATIENCE} losses were taken: the recommender "
                    "does not read it, or not as a module. Name the layer that it reads with "
                    "projections=, if there is one."
                )
            elif not student.reached and self.layers[m].weight.requires_grad:
                _warn(
                    f"{where} got no gradient from the recommendation loss while {PATIENCE} losses "
                    "were taken: it only follows the teacher. Look at the recommender's weights of "
                    "the terms that read features."
                )

    def _probes(self) -> list[Tensor]:
        """Copies of a little of a student, then of the teacher: its biases."""
        weight = next(iter(self.layers.values())).weight
        teacher = [p for p in self.teacher.parameters() if p.requires_grad and p.ndim == 1]
        # On the CPU, as the model may move in between.
        return [p.detach().to("cpu", torch.float32, copy=True) for p in (weight[:1], *teacher)]


def _training(module: nn.Module) -> bool:
    return module.training and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _warn(message: str) -> None:
    warnings.warn(message, DistillationWarning, stacklevel=5)
