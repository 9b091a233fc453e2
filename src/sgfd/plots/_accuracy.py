"""Which classes a teacher can read, and from what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sgfd._checks import as_array, check_mapping, check_order
from sgfd._features import FeatureTable
from sgfd._lessons import LabeledItems, listen
from sgfd._sources import missing_masks
from sgfd._teacher import SemanticTeacher

if TYPE_CHECKING:
    from sgfd._features import FeatureSource

_ROWS = 4096


class ClassAccuracy(NamedTuple):
    """How many items of each class a teacher's classifiers get right.

    Attributes:
        right: ``{modality: (C,) int64}``, and with fusion ``"fused"``, by all modalities together.
        counts: likewise, of how many: items of the class that have the modality.
    """

    right: dict[str, npt.NDArray[np.int64]]
    counts: dict[str, npt.NDArray[np.int64]]

    def shares(self) -> dict[str, npt.NDArray[np.float64]]:
        """``right / counts``, NaN for a class without an item."""
        return {
            name: self.right[name] / np.where(counts, counts, np.nan)
            for name, counts in self.counts.items()
        }


@torch.no_grad()
def class_accuracy(
    teacher: SemanticTeacher,
    features: Mapping[str, FeatureSource],
    labels: Tensor | npt.NDArray[np.integer],
    *,
    missing: Mapping[str, Tensor | np.ndarray] | None = None,
) -> ClassAccuracy:
    """How well a teacher reads each class, per modality and from all of them together.

    Of items whose labels it was taught this says how much it has learned by heart. For what it
    understood, hide some labels from ``distill`` (-1), and give here only those.

    Args:
        teacher: that of ``distill`` is at ``model.teacher``. Left in the mode it was in.
        features: ``{modality: (num_items, F_m)}``, as for ``distill``: a row of NaN for an item
            that lacks the modality, which is then not asked about it.
        labels: (num_items,) integers, one per item, negative where unknown; such items are left
            out.
        missing: ``{modality: (num_items,) bool}``, as for ``distill``.

    Raises:
        TypeError: for another teacher.
        ValueError: if shapes disagree, a label is not below the teacher's ``num_classes``, or a
            modality is named "fused".

    Example:
        >>> from sgfd import distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.plots import class_accuracy
        >>> data = synthetic_catalog(num_users=60, num_items=50, num_classes=3)
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> found = class_accuracy(model.teacher, data.features, data.labels)
        >>> list(found.right), int(found.counts["fused"].sum())
        (['image', 'text', 'fused'], 50)
    """
    if not isinstance(teacher, SemanticTeacher):
        raise TypeError(
            f"teacher must be a SemanticTeacher; got {type(teacher).__qualname__}. That of a "
            "distilled model is at model.teacher."
        )
    modalities = list(teacher.in_features)
    check_mapping("features", features)
    if features.keys() != teacher.in_features.keys() or "fused" in modalities:
        raise ValueError(
            f"features must have exactly the teacher's modalities {modalities}, none of them named "
            f"'fused'; got {list(features)}."
        )
    check_order("labels", labels)
    known = torch.from_numpy(np.array(as_array("labels", labels)))
    if known.ndim != 1 or known.dtype == torch.bool or known.is_floating_point():
        raise ValueError(
            "labels must be one integer per item, negative where unknown; got shape "
            f"{tuple(known.shape)} of {known.dtype}."
        )
    classes = teacher.num_classes
    if len(known) and known.max() >= classes:
        raise ValueError(
            f"labels must be below the teacher's {classes} classes; got {int(known.max())}."
        )
    tables = {
        m: FeatureTable(features[m], name=f"features[{m!r}]", num_rows=len(known))
        for m in modalities
    }
    items = LabeledItems(tables, known, missing_masks(missing, modalities, len(known)))
    names = modalities if teacher.fusion_classifier is None else [*modalities, "fused"]
    right = {name: np.zeros(classes, dtype=np.int64) for name in names}
    counts = {name: np.zeros(classes, dtype=np.int64) for name in names}
    mode = teacher.training
    teacher.eval()
    try:
        for rows in torch.split((known >= 0).nonzero().flatten(), _ROWS):
            said, truth, present = listen(teacher, items, rows)
            logits, asked = dict(said.logits), dict(present)
            if said.fused_logits is not None:
                logits["fused"] = said.fused_logits
                asked["fused"] = torch.stack(list(present.values())).any(0)
            for name in names:
                hit = asked[name] & (logits[name].argmax(1) == truth)
                right[name] += truth[hit].bincount(minlength=classes).cpu().numpy()
                counts[name] += truth[asked[name]].bincount(minlength=classes).cpu().numpy()
    finally:
        teacher.train(mode)
    return ClassAccuracy(right, counts)
