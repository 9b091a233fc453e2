"""Training a teacher by itself, before anything is distilled."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sgfd._checks import check_device, check_integer, check_mapping, check_number
from sgfd._features import FeatureSource, FeatureTable
from sgfd._functional import cast_anew, copied_state
from sgfd._lessons import Judgement, LabeledItems, judge, teach
from sgfd._loss import SGFDLoss
from sgfd._seed import seeded
from sgfd._sources import missing_masks
from sgfd._targets import ItemLabels, check_fit, count_classes, default_loss, read_labels
from sgfd._teacher import SemanticTeacher


class TeacherHistory(NamedTuple):
    """How a teacher learned, a value per epoch.

    Attributes:
        loss: of training, ``classification + fusion`` of ``SGFDTerms``, the mean over the items.
        held_out_loss: the same of the held-out items.
        accuracy: ``{modality: share of the held-out labels that its classifier gets right}``: of
            the items by their largest logit; of a hierarchy, of all labels on all levels; of
            multi-hot labels, of the items with every class right (a logit above 0 is a yes).
        fused_accuracy: the same by all modalities together; empty without fusion.
        best_epoch: the epoch whose parameters the teacher has now, from 0.
    """

    loss: tuple[float, ...]
    held_out_loss: tuple[float, ...]
    accuracy: dict[str, tuple[float, ...]]
    fused_accuracy: tuple[float, ...]
    best_epoch: int


def pretrain_teacher(
    teacher: SemanticTeacher,
    features: "Mapping[str, FeatureSource]",
    labels: "ItemLabels | Mapping[str, ItemLabels]",
    *,
    missing: "Mapping[str, Tensor | np.ndarray] | None" = None,
    loss: SGFDLoss | None = None,
    num_classes: int | Mapping[str, int] | None = None,
    epochs: int = 100,
    batch_size: int = 256,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    validation_fraction: float = 0.1,
    patience: int | None = 10,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> TeacherHistory:
    """Train a teacher on the labels alone, and leave it with its best epoch's parameters.

    For distillation in two stages: first the teacher, then the students of a teacher that stays
    as it is. Without this, ``distill`` trains both together, which is what the paper does.

    Some labeled items, drawn by the seed, are held out to choose the epoch: that of the highest
    fused accuracy (without fusion, of the mean over the modalities), at a tie of the lowest loss;
    with multi-hot labels or a hierarchy, of the lowest loss. Items without a known label are left
    out. Only parameters with ``requires_grad`` are trained. The teacher's mode, its device and
    torch's generator are left as they were; after an error or an interrupt the teacher has its
    best parameters until then.

    Args:
        teacher: trained in place; that of ``distill`` is at ``model.teacher``.
        features: ``{modality: raw features (num_items, F_m)}``, the teacher's modalities in any
            order; tensors, arrays or memory maps, of which a batch is read at a time. A row of
            NaN throughout says that the item lacks the modality.
        labels: of one of the kinds that ``distill`` takes.
        missing: ``{modality: (num_items,) bool}``, as for ``distill``.
        loss: for its ``classification`` and ``fusion`` functions; they count alike, whatever its
            weights. None for those that fit the labels.
        num_classes: needed of a hierarchy whose last class has no item, ``{level: classes}``.
        epochs: at most.
        batch_size: items per step.
        learning_rate: of Adam.
        weight_decay: of Adam, added to the gradient.
        validation_fraction: share of the labeled items to hold out, above 0 and below 1.
        patience: epochs without improvement before it stops; None never stops it.
        seed: of the held-out items and the batches. The same seed gives the same numbers.
        device: to train on; None for where the teacher is.
        progress: show a progress bar.

    Raises:
        TypeError: if it is not a SemanticTeacher, loss no SGFDLoss, or features are no mapping of
            tensors or arrays.
        ValueError: for features, labels or options that do not fit the teacher or each other,
            and for a frozen teacher.
        FloatingPointError: if the loss is not finite.

    Example:
        >>> from sgfd import distill, pretrain_teacher
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> history = pretrain_teacher(
        ...     model.teacher, data.features, data.labels, epochs=20, learning_rate=1e-2
        ... )
        >>> history.fused_accuracy[history.best_epoch] > 0.9
        True
        >>> _ = model.teacher.requires_grad_(False)  # from here on it only teaches
    """
    parameters = _check_teacher(teacher, features)
    _check_settings(epochs, patience, validation_fraction)
    batch_size = check_integer("batch_size", batch_size, at_least=1)
    learning_rate = check_number("learning_rate", learning_rate, at_least=0)
    weight_decay = check_number("weight_decay", weight_decay, at_least=0)
    where = parameters[0].device if device is None else check_device(device)
    targets = read_labels(labels)
    sizes = count_classes(targets, num_classes, taught=teacher.num_classes)
    if loss is not None and not isinstance(loss, SGFDLoss):
        raise TypeError(f"loss must be an SGFDLoss; got {type(loss).__qualname__}.")
    loss = default_loss(targets, sizes) if loss is None else loss
    check_fit(loss, targets, sizes, parameters[0])
    modalities, num_items = list(teacher.in_features), len(targets.labels)
    items = LabeledItems(
        {
            m: FeatureTable(features[m], name=f"features[{m!r}]", num_rows=num_items)
            for m in modalities
        },
        targets.labels.cpu(),
        missing_masks(missing, modalities, num_items),
    )
    home, mode, single = parameters[0].device, teacher.training, targets.labels.ndim == 1
    losses: list[float] = []
    judgements: list[Judgement] = []
    best_epoch, best = -1, copied_state(teacher)
    from tqdm import tqdm

    with (
        seeded(seed, stream=2),
        torch.enable_grad(),
        cast_anew(),
        tqdm(total=epochs, unit="epoch", disable=not progress) as bar,
    ):
        train, held_out = _split(items.labels, validation_fraction)
        try:
            teacher.to(where)
            optimizer = torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay)
            for epoch in range(epochs):
                losses.append(
                    teach(
                        teacher, items, torch.split(_shuffled(train), batch_size), loss, optimizer
                    )
                )
                now = judge(teacher, items, torch.split(held_out, batch_size), loss, sizes)
                judgements.append(now)
                _check_finite(epoch, losses[-1], now.loss)
                if best_epoch < 0 or now.merit(single) > judgements[best_epoch].merit(single):
                    best_epoch, best = epoch, copied_state(teacher)
                bar.set_postfix_str(f"loss {now.loss:.4f}, best in epoch {best_epoch + 1}")
                bar.update()
                if patience is not None and epoch >= best_epoch + patience:
                    break
        finally:
            teacher.load_state_dict(best)
            teacher.zero_grad()
            teacher.train(mode).to(home)
    return TeacherHistory(
        loss=tuple(losses),
        held_out_loss=tuple(now.loss for now in judgements),
        accuracy={m: tuple(now.accuracy[m] for now in judgements) for m in modalities},
        fused_accuracy=tuple(
            now.fused_accuracy for now in judgements if now.fused_accuracy is not None
        ),
        best_epoch=best_epoch,
    )


def _shuffled(rows: Tensor) -> Tensor:
    return rows[torch.randperm(len(rows))]


def _split(labels: Tensor, fraction: float) -> tuple[Tensor, Tensor]:
    """Rows of the items with a known label, some of them held out."""
    known = (labels.reshape(len(labels), -1) >= 0).any(1).nonzero().flatten()
    if len(known) < 2:
        raise ValueError(
            "labels must be known of two items at least, one to learn from and one to hold out; "
            f"got {len(known)}."
        )
    rows = _shuffled(known)
    held = min(max(round(fraction * len(rows)), 1), len(rows) - 1)
    return rows[held:], rows[:held]


def _check_finite(epoch: int, loss: float, held_out_loss: float) -> None:
    if not math.isfinite(loss + held_out_loss):
        raise FloatingPointError(
            f"The teacher's loss must be finite; in epoch {epoch} it is {loss}, of the held-out "
            f"items {held_out_loss}. A lower learning_rate usually helps."
        )


def _check_teacher(
    teacher: SemanticTeacher, features: "Mapping[str, FeatureSource]"
) -> list[torch.nn.Parameter]:
    """The parameters to train."""
    if not isinstance(teacher, SemanticTeacher):
        raise TypeError(
            f"teacher must be a SemanticTeacher; got {type(teacher).__qualname__}. That of a "
            "distilled model is at model.teacher."
        )
    parameters = [p for p in teacher.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "teacher must have parameters to train; all are frozen: teacher.requires_grad_(True)."
        )
    check_mapping("features", features)
    if features.keys() != teacher.in_features.keys():
        raise ValueError(
            f"features must have exactly the teacher's modalities {list(teacher.in_features)}; got "
            f"{list(features)}."
        )
    return parameters


def _check_settings(epochs: int, patience: int | None, fraction: float) -> None:
    check_integer("epochs", epochs, at_least=1)
    if patience is not None:
        check_integer("patience", patience, at_least=1)
    check_number("validation_fraction", fraction, above=0, below=1)
