"""The release's teacher, student and loss."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from sgfd._chain import hidden_widths
from sgfd._checks import check_mapping, check_number
from sgfd._functional import Activation, widen
from sgfd._loss import SGFDLoss
from sgfd._seed import seeded
from sgfd._student import FeatureStudent
from sgfd._teacher import SemanticTeacher
from sgfd._tensor_checks import check_alike, check_label_range, check_label_tensors
from sgfd.release._recipes import BM3_OFFICE, Weights


def cross_entropy_of_probabilities(logits: Tensor, labels: Tensor) -> Tensor:
    r""":math:`\log\sum_c e^{p_c} - p_y` with :math:`p = \sigma(z)`: a softmax of a softmax.

    With C classes it cannot fall below :math:`\log(C - 1 + e) - 1`, and its gradient is small.

    Args:
        logits: (N, C).
        labels: (N,) int64 in -1..C-1.

    Returns:
        (N,), 0 where the label is -1.

    Example:
        >>> import torch
        >>> from sgfd.release import cross_entropy_of_probabilities
        >>> logits = torch.tensor([[50.0, 0.0], [50.0, 0.0], [0.0, 0.0]])
        >>> cross_entropy_of_probabilities(logits, torch.tensor([0, 1, -1]))  # log(1 + e) - 1 first
        tensor([0.3133, 1.3133, 0.0000])
    """
    check_label_tensors(logits, labels)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must be one per row of the logits {tuple(logits.shape)}; got "
            f"{tuple(labels.shape)}."
        )
    check_label_range(labels, logits.shape[-1])
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

    Example:
        >>> import torch
        >>> from sgfd.release import mean_absolute_difference
        >>> sure, unsure = torch.tensor([[50.0, 0.0]]), torch.tensor([[0.0, 0.0]])
        >>> mean_absolute_difference(sure, unsure, 1.0)  # of (1, 0) and (1/2, 1/2)
        tensor([0.5000])
    """
    check_alike(teacher_logits, student_logits)
    check_number("temperature", temperature, above=0)
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

    Example:
        >>> import torch
        >>> from sgfd.release import mean_squared_error
        >>> mean_squared_error(torch.tensor([[1.0, 5.0]]), torch.tensor([[0.0, 2.0]]))
        tensor([5.])
    """
    check_alike(teacher, student)
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
    normalize: bool = True,
    ratio: int = 4,
    seed: int = 0,
) -> Settings:
    """The release's teacher, student and loss, as its PyTorch backbones (BM3, GRCN) have them.

    Its MAML has LeakyReLU of slope 0.2, no unit rows and a ratio of 2. It computes other terms
    besides, but they reach neither of the two embedding tables, which are all that its MAML trains.

    Args:
        in_features: ``{modality: F_m}`` in the release's order of fusion: text first for BM3,
            image first for GRCN.
        num_classes: the number of labels.
        out_features: width of the embeddings, the backbone's ``dim``.
        weights: of the loss; the constants of this module are the published ones.
        activation: after teacher and student. LeakyReLU for BM3; GRCN's default has None.
        normalize: whether both have unit rows.
        ratio: of the teacher's widths, as in ``hidden_widths``. 4 for BM3 and GRCN.
        seed: of the teacher's initial parameters; torch's generator is left as it was.

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
    check_mapping("in_features", in_features)
    if not isinstance(weights, Weights):
        raise TypeError(f"weights must be release.Weights, release.BM3_TOYS say; got {weights!r}.")
    hidden = {m: hidden_widths(f, out_features, ratio, minimum=0) for m, f in in_features.items()}
    with seeded(seed, stream=1):
        teacher = SemanticTeacher(
            in_features,
            out_features,
            num_classes,
            hidden_features=hidden,
            inner_activation=None,
            activation=activation,
            normalize=normalize,
        )
    student = partial(
        FeatureStudent.adopt,
        activation=activation,
        normalize=normalize,
        embed_activation=activation,
        embed_normalize=normalize,
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
