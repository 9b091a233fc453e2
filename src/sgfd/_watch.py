"""Things that go wrong without any error, noticed while the first losses are taken."""

import warnings
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from sgfd._functional import widen
from sgfd._inputs import check_input
from sgfd._looked_for import Catalog
from sgfd._problems import (
    IdleTeacherWarning,
    NoDistillationWarning,
    NoGradientWarning,
    OtherFeaturesWarning,
    UnusedStudentWarning,
)
from sgfd._student_watch import PATIENCE, StudentWatch

# Distillation losses by which training is known to take them: check_scores() alone takes three.
_TAKEN = 10

ReadRows = Callable[[str, Tensor], tuple[Tensor, Tensor | None]]


class _Probes(NamedTuple):
    """Copies of a little of every part, by which to see whether it moves."""

    students: list[Tensor]
    teacher: list[Tensor]
    rest: list[Tensor]


class Watch:
    """Notices a teacher that does not train and students that read something else or nothing."""

    def __init__(
        self, backbone: nn.Module, teacher: nn.Module, paths: Mapping[str, str], num_items: int
    ) -> None:
        self.backbone, self.teacher, self.paths = backbone, teacher, dict(paths)
        self.num_items = num_items
        self.students = {m: StudentWatch(backbone) for m in paths}
        self.taken = self.losses = self.trained = 0
        self.untouched: list[Tensor] | None = _copies(self._of_teacher())
        self.start: _Probes | None = None
        self.ended = False
        self.other_features: set[str] = set()

    @property
    def looking(self) -> bool:
        """Whether it is still on the look-out: not for long, as a GPU has to be waited for."""
        return not self.ended and self.losses < PATIENCE

    def after_loss(self, rows: ReadRows, batch: Tensor, *, recommending: bool) -> None:
        """To be called once per distillation loss with gradient.

        Args:
            rows: (modality, item indices) -> raw features, as given to ``distill``, and which of
                them are there.
            batch: (n,) distinct items of the loss.
            recommending: whether the recommender's loss was taken beside it for certain.
        """
        if self.ended:
            return
        self._check_inputs(rows, batch)
        # Before the recommender has been run at all, a teacher may be warmed up by itself.
        running = recommending or any(student.ran for student in self.students.values())
        if self.start is None:
            self.start = self._probes(rest=not running)
        self.taken += 1
        if not running and self.losses == 0 and self.taken % PATIENCE == 0:
            # Where no student is ever called, only its other parameters tell that it is run.
            running = _moved(self.start.rest, self._probes(rest=True).rest)
            self.losses = PATIENCE - 1 if running else 0
        if not running or self.losses >= PATIENCE:
            return
        self.losses += 1
        if self.losses == PATIENCE:
            self._check_teacher(self.start)
            self._check_students()
            for m, student in self.students.items():
                # Once more: features that the recommender changes have moved by now.
                student.wants_input = m not in self.other_features

    def begin(self) -> None:
        """To be called before a loss whose calls of the students are all of one batch."""
        if not torch.compiler.is_compiling():
            for student in self.students.values():
                student.begin()

    def aside(self, modality: str, rows: Tensor) -> Tensor:
        """What a student makes of rows, hooks of others and all, without a gradient.

        That is not taken for the recommender's reading it.
        """
        called = {student: student.called for student in self.students.values()}
        try:
            output: Tensor = self._layer(modality)(rows)
        finally:
            for student, before in called.items():
                student.called = before
        return output

    def used(self) -> None:
        """To be called where the result of ``distill`` is used for anything but its loss."""
        if torch.compiler.is_compiling() or self.untouched is None:
            return
        if all(student.steps < PATIENCE for student in self.students.values()):
            return
        # A loop of its own may compute the loss from the parts, which moves the teacher.
        lonely = self.trained < _TAKEN and not _moved(self.untouched, _copies(self._of_teacher()))
        self.untouched = None
        if lonely and not self.ended:
            warnings.warn(
                f"The recommender was trained for {PATIENCE} steps and no distillation loss was "
                "taken, as if it were plain. Call the loss method on what distill() returned: a "
                "method of the recommender that calls it (a training_step, say) calls its own, so "
                "pass that as loss_method=. Or add distillation_loss(items) to the loss.",
                NoDistillationWarning,
                stacklevel=4,
            )

    def _check_inputs(self, rows: ReadRows, batch: Tensor) -> None:
        for m, student in self.students.items():
            # What was read on another device, in a trial call say, is of no use.
            if (given := student.take()) is None or given.first.device != batch.device:
                continue
            # Of a layer that reads several modalities, it may be any of them.
            same = [o for o in self.paths if self._layer(o) is self._layer(m)]
            found = {
                o: check_input(
                    given, self._where(m), Catalog(o, partial(rows, o), self.num_items, batch)
                )
                for o in same
            }
            if all(found.values()) and (problem := found[m]) is not None:
                warnings.warn(problem.message, problem.category, stacklevel=6)
                if problem.category is OtherFeaturesWarning:
                    self.other_features.add(m)

    def _check_teacher(self, start: _Probes) -> None:
        now = self._probes(rest=False)
        idle = now.teacher and not _moved(start.teacher, now.teacher)
        if idle and _moved(start.students, now.students):
            warnings.warn(
                f"While {PATIENCE} distillation losses were taken the students changed and the "
                "teacher did not: an optimizer made before distill() owns the students but not the "
                "teacher. Add model.teacher.parameters() to it, or, if the teacher was trained "
                "before, freeze it: model.teacher.requires_grad_(False).",
                IdleTeacherWarning,
                stacklevel=6,
            )

    def _check_students(self) -> None:
        for m, student in self.students.items():
            if student.compiled:
                continue
            if not student.called:
                warnings.warn(
                    f"{self._where(m)} was never called while {PATIENCE} losses were taken: the "
                    "recommender does not read it, or not as a module. Name the layer that it "
                    "reads with projections=, if there is one.",
                    UnusedStudentWarning,
                    stacklevel=6,
                )
            elif not student.reached and self._layer(m).weight.requires_grad:
                warnings.warn(
                    f"{self._where(m)} got no gradient from the recommendation loss while "
                    f"{PATIENCE} losses were taken: it only follows the teacher. Look at the "
                    "recommender's weights of the terms that read features.",
                    NoGradientWarning,
                    stacklevel=6,
                )

    def _where(self, modality: str) -> str:
        return f"The layer {self.paths[modality]!r} (modality {modality!r})"

    def _layer(self, modality: str) -> nn.Linear:
        return cast("nn.Linear", self.backbone.get_submodule(self.paths[modality]))

    def _of_teacher(self) -> list[Tensor]:
        return [p for p in self.teacher.parameters() if p.ndim == 1]

    def _probes(self, *, rest: bool) -> _Probes:
        layers = {self._layer(m) for m in self.paths}
        students = [layer.weight[:1] for layer in layers]
        teacher = [p for p in self._of_teacher() if p.requires_grad]
        known = {id(p) for layer in layers for p in layer.parameters()}
        others = [p for p in self.backbone.parameters() if rest and id(p) not in known]
        return _Probes(
            _copies(students), _copies(teacher), _copies(widen(p.detach()).sum() for p in others)
        )


def _copies(values: Iterable[Tensor]) -> list[Tensor]:
    # On the CPU, as the model may move in between.
    return [x.detach().to("cpu", torch.float32, copy=True) for x in values]


def _moved(before: list[Tensor], after: list[Tensor]) -> bool:
    # Parts that were frozen in between are no longer there: then it counts as moved.
    together = zip(before, after, strict=False)
    return len(before) != len(after) or any(not torch.equal(a, b) for a, b in together)
