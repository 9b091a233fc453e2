"""One epoch of a teacher's own training, and how much it gets right."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sgfd._features import FeatureTable
from sgfd._loss import SGFDLoss, label_losses
from sgfd._means import any_present
from sgfd._teacher import Semantics, SemanticTeacher


class LabeledItems(NamedTuple):
    """Items to teach.

    Attributes:
        tables: their raw features per modality, in the teacher's order.
        labels: (N,), multi-hot (N, C) or (N, levels), on the CPU, -1 where unknown.
        missing: (modalities, N) bool, True where an item lacks one, besides rows of NaN.
    """

    tables: dict[str, FeatureTable]
    labels: Tensor
    missing: Tensor | None


class Statement(NamedTuple):
    """What a teacher says of some items, and what is true of them, on the teacher's device."""

    semantics: Semantics
    labels: Tensor
    present: dict[str, Tensor]

    def objective(self, loss: SGFDLoss) -> Tensor:
        """The two label losses of the teacher, without weights."""
        classification, fusion = label_losses(loss, self.semantics, self.labels, None, self.present)
        return classification + fusion


class Judgement(NamedTuple):
    """The mean loss of some items, and the share of right labels per modality and fused."""

    loss: float
    accuracy: dict[str, float]
    fused_accuracy: float | None

    def merit(self, one_label: bool) -> tuple[float, ...]:
        """What to choose an epoch by, larger is better.

        Args:
            one_label: whether items have one label each; only then accuracy says enough.

        Raises:
            ValueError: if no item that it was judged by has a modality.
        """
        if not one_label:
            return (-self.loss,)
        fused = self.fused_accuracy
        accuracies = self.accuracy.values() if fused is None else [fused]
        measured = [value for value in accuracies if not math.isnan(value)]
        if not measured:
            raise ValueError(
                "Held-out items must have features to choose the epoch by; none has. Hold out more "
                "by validation_fraction=, or others by seed=."
            )
        return (sum(measured) / len(measured), -self.loss)


def listen(teacher: SemanticTeacher, items: LabeledItems, rows: Tensor) -> Statement:
    """What a teacher says of the items of some rows.

    Args:
        teacher: on any device.
        items: all items.
        rows: (n,) int64 item indices, on the CPU.
    """
    weight = next(teacher.parameters())
    features, present = {}, {}
    for i, (m, table) in enumerate(items.tables.items()):
        read = table.read(rows)
        features[m], present[m] = read.values.to(weight), (~read.missing).to(weight.device)
        if items.missing is not None:
            present[m] = present[m] & ~items.missing[i, rows].to(weight.device)
    labels = items.labels[rows].to(weight.device, torch.int64)
    return Statement(teacher(features, present), labels, present)


def teach(
    teacher: SemanticTeacher,
    items: LabeledItems,
    batches: Sequence[Tensor],
    loss: SGFDLoss,
    optimizer: torch.optim.Optimizer,
) -> float:
    """One epoch in training mode; returns the mean loss over its items.

    Args:
        teacher: is put into training mode.
        items: all items.
        batches: rows of the items to learn from.
        loss: with the label losses.
        optimizer: of the teacher's parameters.
    """
    teacher.train()
    total = 0.0
    for rows in batches:
        optimizer.zero_grad()
        objective = listen(teacher, items, rows).objective(loss)
        objective.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += len(rows) * float(objective.detach())
    return total / sum(map(len, batches))


@torch.no_grad()
def judge(
    teacher: SemanticTeacher,
    items: LabeledItems,
    batches: Sequence[Tensor],
    loss: SGFDLoss,
    sizes: tuple[int, ...],
) -> Judgement:
    """How right a teacher is about some items, which it hears of in batches.

    Args:
        teacher: is put into evaluation mode.
        items: all items.
        batches: rows of the items to judge it by.
        loss: with the label losses.
        sizes: the number of classes, or that of each level of a hierarchy.
    """
    teacher.eval()
    said = _join([listen(teacher, items, rows) for rows in batches])
    fused, anything = said.semantics.fused_logits, any_present(said.present, list(items.tables))
    assert anything is not None  # listen() says of every modality who has it
    return Judgement(
        float(said.objective(loss)),
        {
            m: accuracy(logits, said.labels, sizes, said.present[m])
            for m, logits in said.semantics.logits.items()
        },
        None if fused is None else accuracy(fused, said.labels, sizes, anything),
    )


def accuracy(logits: Tensor, labels: Tensor, sizes: tuple[int, ...], present: Tensor) -> float:
    """The share of known labels that are right, NaN without any.

    Args:
        logits: (N, C).
        labels: (N,), multi-hot (N, C), of which a row is right as a whole, or (N, levels).
        sizes: the number of classes, or that of each level of a hierarchy.
        present: (N,) bool, which items to count.
    """
    known = labels >= 0
    if len(sizes) > 1:
        levels = torch.split(logits, list(sizes), dim=-1)
        right = torch.stack([z.argmax(-1) for z in levels], dim=-1) == labels
        counted = known & present.unsqueeze(-1)
    elif labels.ndim == 2:
        right = (((logits > 0) == (labels > 0)) | ~known).all(-1)
        counted = known.any(-1) & present
    else:
        right, counted = logits.argmax(-1) == labels, known & present
    number = int(counted.sum())
    return int((right & counted).sum()) / number if number else float("nan")


def _join(said: Sequence[Statement]) -> Statement:
    parts = [part.semantics for part in said]
    fused = [part.fused_logits for part in parts if part.fused_logits is not None]
    return Statement(
        Semantics(
            {m: torch.cat([part.embeddings[m] for part in parts]) for m in parts[0].embeddings},
            {m: torch.cat([part.logits[m] for part in parts]) for m in parts[0].logits},
            torch.cat(fused) if fused else None,
        ),
        torch.cat([part.labels for part in said]),
        {m: torch.cat([part.present[m] for part in said]) for m in said[0].present},
    )
