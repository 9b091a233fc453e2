r"""The settings of the authors' released code, each reachable on its own and all as one preset.

The release departs from the paper, and from itself, in ways that ``docs/two_truths.md`` lists.
Here are the parts that compute what it computes, for reproducing its numbers:

=============================  ===============================================================
in the release                 here
=============================  ===============================================================
nothing between the layers     ``SemanticTeacher(inner_activation=None)``
no hidden layer where none     ``hidden_features=`` with ``hidden_widths(..., minimum=0)``
fits between the widths
cross-entropy of softmax       ``SGFDLoss(classification=cross_entropy_of_probabilities)``
outputs
mean absolute difference of    ``SGFDLoss(response=mean_absolute_difference)``
softened predictions
mean squared error             ``SGFDLoss(feature=mean_squared_error)``
gradient into the teacher      ``SGFDLoss(detach_teacher=False)``
=============================  ===============================================================
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from sgfd._chain import hidden_widths
from sgfd._functional import Activation, widen
from sgfd._loss import SGFDLoss
from sgfd._student import FeatureStudent
from sgfd._teacher import SemanticTeacher


class Weights(NamedTuple):
    """The loss weights that the release's README gives for one backbone and dataset."""

    ce_weight: float
    kd_weight: float
    temperature: float


BM3_OFFICE = Weights(0.1, 0.01, 50.0)
BM3_CLOTHING = Weights(0.01, 0.1, 100.0)
BM3_TOYS = Weights(0.1, 0.01, 5.0)
GRCN_OFFICE = Weights(1.0, 1.0, 100.0)
GRCN_CLOTHING = Weights(0.01, 0.01, 100.0)
GRCN_TOYS = Weights(0.1, 1.0, 10.0)


def cross_entropy_of_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    r""":math:`\log\sum_c e^{p_c} - p_y` with :math:`p = \sigma(z)`: a softmax of a softmax.

    With C classes it cannot fall below :math:`\log(C - 1 + e) - 1`, and its gradient is small.

    Args:
        logits: (N, C).
        labels: (N,) int64 in -1..C-1.

    Returns:
        (N,), 0 where the label is -1.
    """
    return F.cross_entropy(widen(logits).softmax(-1), labels, ignore_index=-1, reduction="none")


def mean_absolute_difference(
    teacher_logits: Tensor, student_logits: Tensor, temperature: float
) -> Tensor:
    r""":math:`\frac1C \lVert \sigma(z^t/T) - \sigma(z^s/T)\rVert_1` per row, with no factor T^2.

    Args:
        teacher_logits: (N, C).
        student_logits: (N, C).
        temperature: T > 0.

    Returns:
        (N,).
    """
    taught = (widen(teacher_logits) / temperature).softmax(-1)
    learned = (widen(student_logits) / temperature).softmax(-1)
    return (taught - learned).abs().mean(-1)


def mean_squared_error(teacher: Tensor, student: Tensor) -> Tensor:
    r""":math:`\frac1D \lVert t - s\rVert_2^2` per row.

    Args:
        teacher: (N, D).
        student: (N, D).

    Returns:
        (N,).
    """
    return (widen(teacher) - widen(student)).square().mean(-1)


class Settings(NamedTuple):
    """Arguments of ``distill`` that make it compute what the release computes."""

    teacher: SemanticTeacher
    student: Callable[[nn.Linear], FeatureStudent]
    loss: SGFDLoss


def settings(
    in_features: Mapping[str, int],
    num_classes: int,
    *,
    out_features: int = 128,
    weights: Weights = BM3_OFFICE,
    activation: Activation | None = F.leaky_relu,
) -> Settings:
    """The release's teacher, student and loss for its PyTorch backbones (BM3, GRCN).

    Args:
        in_features: ``{modality: F_m}`` in the release's order of fusion: text first for BM3,
            image first for GRCN.
        num_classes: the number of labels.
        out_features: width of the embeddings, the backbone's ``dim``.
        weights: of the loss; the constants of this module are the published ones.
        activation: after teacher and student. LeakyReLU for BM3; GRCN's default has None.

    Returns:
        The three arguments of ``distill`` that differ from its defaults.

    Example:
        >>> from sgfd import distill, release
        >>> from sgfd.backbones import BM3
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog()
        >>> widths = {"text": data.features["text"].shape[1]}
        >>> preset = release.settings(
        ...     widths, data.num_classes, out_features=64, weights=release.BM3_TOYS
        ... )
        >>> features = {"text": data.features["text"]}
        >>> model = distill(
        ...     BM3(data.train, features), features, data.labels,
        ...     teacher=preset.teacher, student=preset.student, loss=preset.loss,
        ... )
    """
    hidden = {m: hidden_widths(f, out_features, minimum=0) for m, f in in_features.items()}
    teacher = SemanticTeacher(
        in_features,
        out_features,
        num_classes,
        hidden_features=hidden,
        inner_activation=None,
        activation=activation,
    )
    student = partial(
        FeatureStudent.adopt, activation=activation, normalize=True, embed_activation=activation
    )
    loss = SGFDLoss(
        ce_weight=weights.ce_weight,
        kd_weight=weights.kd_weight,
        temperature=weights.temperature,
        detach_teacher=False,
        classification=cross_entropy_of_probabilities,
        response=mean_absolute_difference,
        feature=mean_squared_error,
    )
    return Settings(teacher, student, loss)
