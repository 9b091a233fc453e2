"""What the loss reads of teacher and students, and what must hold of it."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor


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
    """Raises ValueError for parts that do not fit each other."""
    if taught.logits.keys() != learned.logits.keys():
        raise ValueError(
            "Teacher and students must have the same modalities; got "
            f"{list(taught.logits)} and {list(learned.logits)}."
        )
    rows = {len(x) for said in (taught, learned) for x in said.logits.values()}
    if labels.ndim not in (1, 2) or rows != {len(labels)}:
        raise ValueError(
            "labels must be (N,) or (N, L) with one label per row of the teacher's and students' "
            f"logits, or several; got labels of shape {tuple(labels.shape)} and logits of "
            f"{sorted(rows)} rows."
        )
    if labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64, -1 where unknown; got {labels.dtype}.")
    if multiplicity is not None and multiplicity.shape != labels.shape[:1]:
        raise ValueError(
            f"multiplicity must have the labels' shape ({len(labels)},), one count per item; "
            f"got {tuple(multiplicity.shape)}."
        )
    for m, there in present.items():
        if m not in taught.logits or there.shape != labels.shape[:1] or there.dtype != torch.bool:
            raise ValueError(
                f"present may have {list(taught.logits)}, each ({len(labels)},) bool; "
                f"got {m!r}: {tuple(there.shape)} of {there.dtype}."
            )
    if not labels.is_cuda and not torch.compiler.is_compiling() and labels.numel():
        num_classes = next(iter(taught.logits.values())).shape[-1]
        multi_hot = labels.shape[1:] == (num_classes,)
        low, high = int(labels.min()), int(labels.max())
        if low < -1 or high >= (2 if multi_hot else num_classes):
            allowed = "0 or 1" if multi_hot else f"in -1..{num_classes - 1}"
            raise ValueError(f"labels must be {allowed} (-1 for unknown); got {low}..{high}.")
