"""Divergences for labels on several levels, such as department, category and subcategory."""

import math
from collections.abc import Sequence
from functools import partial
from numbers import Integral, Real
from typing import NamedTuple

import torch
from torch import Tensor

from sgfd._tensor_checks import check_label_tensors
from sgfd._terms import LabelLoss, ResponseDivergence, cross_entropy, kl_divergence


class Hierarchy(NamedTuple):
    """What an ``SGFDLoss`` takes for labels on several levels.

    Attributes:
        classification: label loss, for ``classification=`` and ``fusion=``.
        response: divergence of predictions, for ``response=``.
    """

    classification: LabelLoss
    response: ResponseDivergence


def hierarchy(
    num_classes: Sequence[int],
    *,
    weights: Sequence[float] | None = None,
    class_weights: Sequence[Tensor | None] | None = None,
) -> Hierarchy:
    r"""Label loss and response divergence for labels on several levels.

    The teacher has the logits of all levels side by side (``num_classes`` is their sum). Each
    level has a softmax of its own, and the terms are weighted sums over the levels,

    .. math:: \sum_l w_l \bar L_l

    with the cross-entropy of a level averaged over the items whose label is known there, and the
    KL divergence over all.

    Args:
        num_classes: classes of each level, at least 2, in the order of the labels' levels.
        weights: of the levels, at least 0; None for equal ones that sum to 1, so that the terms
            keep the scale of one level's.
        class_weights: one for each level, as ``cross_entropy`` takes them, or None.

    Returns:
        The functions, for an ``SGFDLoss``; ``distill`` takes them by itself, with equal weights,
        for labels ``{level: labels}``.

    Raises:
        ValueError: for fewer than two levels or classes, or weights that do not fit them.

    Example:
        >>> from sgfd import SGFDLoss, hierarchy
        >>> levels = hierarchy((27, 115), weights=(0.7, 0.3))
        >>> loss = SGFDLoss(
        ...     classification=levels.classification,
        ...     fusion=levels.classification,
        ...     response=levels.response,
        ... )
    """
    sizes = tuple(num_classes) if isinstance(num_classes, Sequence) else ()
    if len(sizes) < 2 or not all(isinstance(size, Integral) and size >= 2 for size in sizes):
        raise ValueError(
            "hierarchy() takes a sequence of numbers of classes, of two levels or more of two "
            f"classes or more; got {num_classes!r}."
        )
    w = (1 / len(sizes),) * len(sizes) if weights is None else tuple(weights)
    fit = all(isinstance(x, Real) and 0 <= x < math.inf for x in w)
    if len(w) != len(sizes) or not fit or sum(w) == 0:
        raise ValueError(
            f"weights must be one per level ({len(sizes)}), finite, at least 0 and not all 0; "
            f"got {w}."
        )
    c = (None,) * len(sizes) if class_weights is None else tuple(class_weights)
    if len(c) != len(sizes):
        raise ValueError(f"class_weights must be one per level ({len(sizes)}); got {len(c)}.")
    # Not closures: a loss of these can be pickled.
    return Hierarchy(
        partial(_cross_entropies, sizes=sizes, weights=w, class_weights=c),
        partial(_divergence, sizes=sizes, weights=w),
    )


def _cross_entropies(
    logits: Tensor,
    labels: Tensor,
    *,
    sizes: tuple[int, ...],
    weights: tuple[float, ...],
    class_weights: tuple[Tensor | None, ...],
) -> Tensor:
    """(N, levels), each times its weight; 0 where a label is -1."""
    check_label_tensors(logits, labels)
    if labels.shape != (*logits.shape[:-1], len(sizes)):
        raise ValueError(
            f"A hierarchy of {len(sizes)} levels takes labels of shape (N, {len(sizes)}), N the "
            f"rows of the logits {tuple(logits.shape)}; got {tuple(labels.shape)}."
        )
    columns = labels.unbind(-1)
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        for level, (y, size) in enumerate(zip(columns, sizes, strict=True)):
            if (y >= size).any():
                raise ValueError(
                    f"labels of level {level} must be below {size}; got {int(y.max())}."
                )
    parts = zip(weights, _split(logits, sizes), columns, class_weights, strict=True)
    return torch.stack([w * cross_entropy(z, y, class_weights=c) for w, z, y, c in parts], dim=-1)


def _divergence(
    teacher_logits: Tensor,
    student_logits: Tensor,
    temperature: float,
    *,
    sizes: tuple[int, ...],
    weights: tuple[float, ...],
) -> Tensor:
    """(N,), the weighted sum over the levels."""
    levels = zip(weights, _split(teacher_logits, sizes), _split(student_logits, sizes), strict=True)
    return torch.stack([w * kl_divergence(t, s, temperature) for w, t, s in levels]).sum(0)


def _split(logits: Tensor, sizes: tuple[int, ...]) -> tuple[Tensor, ...]:
    if logits.shape[-1] != sum(sizes):
        raise ValueError(
            f"A hierarchy of {' + '.join(map(str, sizes))} classes takes logits of width "
            f"{sum(sizes)}; got {tuple(logits.shape)}."
        )
    return torch.split(logits, list(sizes), dim=-1)
