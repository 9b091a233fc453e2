"""Divergences for items with several labels each, every class a yes or no of its own."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sgfd._checks import check_number
from sgfd._functional import widen
from sgfd._tensor_checks import check_alike, check_label_range, check_label_tensors, per_class


def binary_cross_entropy(
    logits: Tensor, labels: Tensor, *, class_weights: Tensor | None = None
) -> Tensor:
    r"""Binary cross-entropy per class, :math:`-w_c \log\sigma(\pm z_c)`; 0 where the label is -1.

    A label loss adds up the classes and does not average them: the sum is the negative
    logarithm of the likelihood of an item's labels, as cross-entropy is of its one label, and
    has cross-entropy's scale. A model that knows no more than that each of C classes is met once
    in C has :math:`\log C` by cross-entropy and at most :math:`\log C + 1` by the sum.

    Args:
        logits: (N, C), before any sigmoid.
        labels: (N, C) int64, 1 where the item has the class, 0 where not, -1 where unknown.
        class_weights: (C,) what each class counts; None for 1.

    Returns:
        (N, C).

    Raises:
        ValueError: for labels or class weights of another shape, and labels of another dtype or
            out of range (checked where they are on the CPU).

    Example:
        >>> import torch
        >>> from sgfd import binary_cross_entropy
        >>> binary_cross_entropy(torch.zeros(1, 3), torch.tensor([[1, 0, -1]]))
        tensor([[0.6931, 0.6931, 0.0000]])
    """
    check_label_tensors(logits, labels)
    if labels.shape != logits.shape:
        raise ValueError(
            f"binary_cross_entropy takes multi-hot labels of the logits' shape "
            f"{tuple(logits.shape)}; got {tuple(labels.shape)}. For one label per item there is "
            "cross_entropy, for several levels hierarchy()."
        )
    check_label_range(labels, 2)
    z = widen(logits)
    weights = None if class_weights is None else per_class(class_weights, z)
    targets = labels.clamp(min=0).to(z.dtype)
    values = F.binary_cross_entropy_with_logits(z, targets, weights, reduction="none")
    return torch.where(labels >= 0, values, torch.zeros_like(values))


def bernoulli_kl(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    r""":math:`\frac{T^2}{C}\sum_c \mathrm{KL}(\sigma(z^t_c/T)\,\Vert\,\sigma(z^s_c/T))` per row.

    A mean over the classes, since that is what the temperature makes of ``kl_divergence``: as T
    grows, it tends to half the variance over the classes of :math:`z^t_c - z^s_c`, and this to an
    eighth of their mean square. The sum would grow with C where the other does not.

    Args:
        teacher_logits: (N, C).
        student_logits: (N, C).
        temperature: T > 0.

    Returns:
        (N,).

    Raises:
        ValueError: as ``kl_divergence``.

    Example:
        >>> import torch
        >>> from sgfd import bernoulli_kl
        >>> bernoulli_kl(torch.tensor([[2.0, 0.0]]), torch.tensor([[2.0, 0.0]]), 10.0)
        tensor([0.])
    """
    check_alike(teacher_logits, student_logits)
    check_number("temperature", temperature, above=0)
    t, s = (widen(z) / temperature for z in (teacher_logits, student_logits))
    # By logarithms of both answers: a softmax over (z, 0) takes six times as long.
    yes, no = F.logsigmoid(t), F.logsigmoid(-t)
    divergence = yes.exp() * (yes - F.logsigmoid(s)) + no.exp() * (no - F.logsigmoid(-s))
    return temperature**2 * divergence.mean(-1)
