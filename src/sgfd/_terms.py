"""The terms of semantic-guided feature distillation, each a function of plain tensors."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sgfd._checks import check_function, check_number
from sgfd._functional import widen
from sgfd._means import JoinCounts, average
from sgfd._tensor_checks import (
    check_alike,
    check_label_range,
    check_label_tensors,
    check_multiplicity,
    check_values,
    per_class,
)

LabelLoss = Callable[[Tensor, Tensor], Tensor]
ResponseDivergence = Callable[[Tensor, Tensor, float], Tensor]
FeatureDivergence = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor, *, class_weights: Tensor | None = None) -> Tensor:
    r"""Cross-entropy per row, :math:`w_y (\log\sum_c e^{z_c} - z_y)`; 0 where the label is -1.

    Args:
        logits: (N, C).
        labels: (N,) int64 in -1..C-1.
        class_weights: (C,) what an item of each class counts, against imbalance; None for 1. As
            the mean over items is not divided by their weights (as torch's is), weights of mean
            1 over the items, which ``balanced_class_weights`` gives, keep the term's scale.

    Returns:
        (N,).

    Raises:
        ValueError: for labels or class weights of another shape, and labels of another dtype or
            out of range (checked where they are on the CPU; a GPU reports it itself).

    Example:
        >>> import torch
        >>> from sgfd import cross_entropy
        >>> cross_entropy(torch.zeros(2, 4), torch.tensor([3, -1]))
        tensor([1.3863, 0.0000])
    """
    check_label_tensors(logits, labels)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"cross_entropy takes one label per row of the logits {tuple(logits.shape)}; got "
            f"labels of shape {tuple(labels.shape)}. For multi-hot labels there is "
            "binary_cross_entropy, for several levels hierarchy()."
        )
    check_label_range(labels, logits.shape[-1])
    z = widen(logits)
    weights = None if class_weights is None else per_class(class_weights, z)
    return F.cross_entropy(z, labels, weights, ignore_index=-1, reduction="none")


def kl_divergence(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    r""":math:`T^2\,\mathrm{KL}(\sigma(z^t/T)\,\Vert\,\sigma(z^s/T))` per row.

    The factor keeps the size of the gradient as the temperature grows (Hinton et al., 2015).

    Args:
        teacher_logits: (N, C).
        student_logits: (N, C).
        temperature: T > 0.

    Returns:
        (N,).

    Raises:
        ValueError: for other shapes, or a temperature that is not above 0 and finite.

    Example:
        >>> import torch
        >>> from sgfd import kl_divergence
        >>> kl_divergence(torch.tensor([[2.0, 0.0]]), torch.tensor([[2.0, 0.0]]), 10.0)
        tensor([0.])
    """
    check_alike(teacher_logits, student_logits)
    check_number("temperature", temperature, above=0)
    taught = F.log_softmax(widen(teacher_logits) / temperature, dim=-1)
    learned = F.log_softmax(widen(student_logits) / temperature, dim=-1)
    divergence = F.kl_div(learned, taught, reduction="none", log_target=True)
    return divergence.sum(-1) * temperature**2


def squared_distance(teacher: Tensor, student: Tensor) -> Tensor:
    r"""Squared Euclidean distance per row, :math:`\lVert t - s\rVert_2^2`.

    A sum over the width, not a mean: between unit rows it is in 0..4 whatever the width.

    Args:
        teacher: (N, D).
        student: (N, D).

    Returns:
        (N,).

    Raises:
        ValueError: for different shapes.

    Example:
        >>> import torch
        >>> from sgfd import squared_distance
        >>> squared_distance(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
        tensor([2.])
    """
    check_alike(teacher, student)
    return (widen(teacher) - widen(student)).square().sum(-1)


def classification_loss(
    logits: Tensor,
    labels: Tensor,
    multiplicity: Tensor | None = None,
    *,
    divergence: LabelLoss = cross_entropy,
    joined: JoinCounts | None = None,
) -> Tensor:
    r"""Label loss, averaged over the items whose label is known; 0 where none is.

    .. math:: \sum_{i: y_i \ge 0} n_i\, \ell(z_i, y_i) \Big/ \sum_{i: y_i \ge 0} n_i

    Of several labels per item (multi-hot, or one per level of a hierarchy) each is averaged over
    the items where it is known, and the averages are added up.

    Args:
        logits: (N, C), before any softmax.
        labels: (N,) or (N, L) int64, -1 where unknown.
        multiplicity: (N,) how often each item counts; None for once.
        divergence: (logits, labels) -> one value per label, of the labels' shape. For unknown
            labels it is given 0, and what it returns there is left out.
        joined: from the counts of these items to those to divide by; None for their own
            (``SGFDLoss.joined``).

    Raises:
        ValueError: for labels or a multiplicity of another shape or dtype, and if the divergence's
            values are of another shape.

    Example:
        >>> import torch
        >>> from sgfd import classification_loss
        >>> classification_loss(torch.zeros(2, 4), torch.tensor([-1, -1]))
        tensor(0.)
    """
    check_label_tensors(logits, labels)
    check_function("divergence", divergence)
    check_multiplicity(multiplicity, labels.shape[:1])
    known = labels >= 0
    values = divergence(logits, labels.clamp(min=0))
    if values.shape != labels.shape:
        raise ValueError(
            f"A label loss must give one value per label, {tuple(labels.shape)}; got "
            f"{tuple(values.shape)}."
        )
    values = torch.where(known, values, torch.zeros_like(values))
    if multiplicity is None:
        return average(values, known, joined)
    return average(values, known * multiplicity.view(-1, *[1] * (labels.ndim - 1)), joined)


def response_loss(
    teacher_logits: Tensor,
    student_logits: Tensor,
    multiplicity: Tensor | None = None,
    *,
    temperature: float = 10.0,
    divergence: ResponseDivergence = kl_divergence,
    joined: JoinCounts | None = None,
) -> Tensor:
    r"""Response distillation: the student predicts what the teacher predicts, labels or none.

    .. math:: \sum_i n_i\, d_T(z^t_i, z^s_i) \Big/ \sum_i n_i

    Args:
        teacher_logits: (N, C).
        student_logits: (N, C), by the teacher's own classifiers.
        multiplicity: (N,) how often each item counts; None for once.
        temperature: softens both predictions; above 1 the unlikely classes count too.
        divergence: (teacher_logits, student_logits, temperature) -> (N,).
        joined: from the counts of these items to those to divide by; None for their own
            (``SGFDLoss.joined``).

    Raises:
        ValueError: for other shapes, also of what the divergence gives.

    Example:
        >>> import torch
        >>> from sgfd import response_loss
        >>> z = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
        >>> response_loss(z, z)
        tensor(0.)
    """
    check_alike(teacher_logits, student_logits)
    values = divergence(teacher_logits, student_logits, temperature)
    return average(check_values(values, multiplicity, teacher_logits), multiplicity, joined)


def feature_loss(
    teacher: Tensor,
    student: Tensor,
    multiplicity: Tensor | None = None,
    *,
    divergence: FeatureDivergence = squared_distance,
    joined: JoinCounts | None = None,
) -> Tensor:
    r"""Feature distillation: the student's embeddings are near the teacher's.

    .. math:: \sum_i n_i\, d(t_i, s_i) \Big/ \sum_i n_i

    Args:
        teacher: (N, D).
        student: (N, D).
        multiplicity: (N,) how often each item counts; None for once.
        divergence: (teacher, student) -> (N,).
        joined: from the counts of these items to those to divide by; None for their own
            (``SGFDLoss.joined``).

    Raises:
        ValueError: for other shapes, also of what the divergence gives.

    Example:
        >>> import torch
        >>> from sgfd import feature_loss
        >>> feature_loss(torch.eye(2), torch.eye(2).flip(0), torch.tensor([3, 1]))
        tensor(2.)
    """
    check_alike(teacher, student)
    values = divergence(teacher, student)
    return average(check_values(values, multiplicity, teacher), multiplicity, joined)
