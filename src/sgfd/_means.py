"""Means over the items that count, each as often as it is there."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from sgfd._functional import widen

JoinCounts = Callable[[Tensor], Tensor]


def times(present: Tensor | None, multiplicity: Tensor | None) -> Tensor | None:
    """How often each item counts where some lack a modality; None for once each."""
    if present is None or multiplicity is None:
        return multiplicity if present is None else present
    return present * multiplicity


def any_present(present: Mapping[str, Tensor], modalities: Sequence[str]) -> Tensor | None:
    """Which items have a modality at all; None for all."""
    if any(m not in present for m in modalities):
        return None
    return torch.stack([present[m] for m in modalities]).any(0)


def average(values: Tensor, weights: Tensor | None, joined: JoinCounts | None) -> Tensor:
    """Weighted mean over the rows, added up over columns; 0 where no row counts.

    Args:
        values: (N,) or (N, L).
        weights: of the same shape, or (N,) for (N,); None for 1.
        joined: from the sums of the weights, () or (L,), to what to divide by instead, where the
            rows are only a share of those that the mean is of; None for the sums themselves.
    """
    values = widen(values)
    weights = torch.ones_like(values) if weights is None else weights.to(values.dtype)
    total = weights.sum(0)
    if joined is not None:
        total = joined(total)
    # Dividing by 1 where nothing counts gives the 0 that is meant, with a gradient of 0.
    means = (values * weights).sum(0) / torch.where(total > 0, total, torch.ones_like(total))
    return means.sum()
