"""What the loss reads of teacher and students, and what must hold of it."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from sgfd._checks import check_tensor
from sgfd._tensor_checks import check_label_tensors, check_multiplicity, check_present


class Said(Protocol):
    """What the loss reads of a ``Semantics``."""

    @property
    def embeddings(self) -> Mapping[str, Tensor]: ...
    @property
    def logits(self) -> Mapping[str, Tensor]: ...
    @property
    def fused_logits(self) -> Tensor | None: ...


def check_terms(
    taught: Said,
    learned: Said,
    labels: Tensor,
    multiplicity: Tensor | None,
    present: Mapping[str, Tensor],
) -> None:
    """Raises TypeError or ValueError for parts that do not fit each other."""
    for name, said in (("taught", taught), ("learned", learned)):
        if not all(hasattr(said, part) for part in ("embeddings", "logits", "fused_logits")):
            raise TypeError(
                f"{name} must be Semantics, which the teacher gives, or its judge() of the "
                f"students' embeddings; got {type(said).__qualname__}."
            )
    named = (taught.embeddings, learned.logits, learned.embeddings)
    if not taught.logits or any(x.keys() != taught.logits.keys() for x in named):
        raise ValueError(
            "Teacher and students must have the same modalities; got "
            f"{list(taught.logits)} and {list(learned.logits)}."
        )
    check_tensor("labels", labels)
    every = [x for said in (taught, learned) for x in said.logits.values()]
    every += [] if taught.fused_logits is None else [taught.fused_logits]
    rows = {len(x) for x in every}
    if labels.ndim not in (1, 2) or rows != {len(labels)}:
        raise ValueError(
            "labels must be (N,) or (N, L) with one label per row of the teacher's and students' "
            f"logits, or several; got labels of shape {tuple(labels.shape)} and logits of "
            f"{sorted(rows)} rows."
        )
    check_label_tensors(every[0], labels)
    check_multiplicity(multiplicity, labels.shape[:1])
    check_present(present, taught.logits, labels.shape[:1])
    if labels.device.type == "cpu" and not torch.compiler.is_compiling() and labels.numel():
        num_classes = every[0].shape[-1]
        multi_hot = labels.shape[1:] == (num_classes,)
        low, high = map(int, labels.aminmax())
        if low < -1 or high >= (2 if multi_hot else num_classes):
            allowed = "0 or 1" if multi_hot else f"in -1..{num_classes - 1}"
            raise ValueError(f"labels must be {allowed} (-1 for unknown); got {low}..{high}.")
        if multiplicity is not None and not multiplicity.min() > 0:
            raise ValueError(
                f"multiplicity must be above 0, how often an item counts; got {multiplicity.min()}."
            )
