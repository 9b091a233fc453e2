"""The weighted sum of the distillation terms."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sgfd._checks import check_function, check_number
from sgfd._means import JoinCounts, any_present, times
from sgfd._said import Said, check_terms
from sgfd._terms import (
    FeatureDivergence,
    LabelLoss,
    ResponseDivergence,
    classification_loss,
    cross_entropy,
    feature_loss,
    kl_divergence,
    response_loss,
    squared_distance,
)


class SGFDTerms(NamedTuple):
    """The loss and what it is made of, scalars, each averaged over modalities, before weights.

    Attributes:
        total: ``ce_weight * (classification + fusion) + kd_weight * (response + feature)``.
        classification: the teacher's label loss per modality.
        fusion: the label loss of the teacher's fused features; 0 without fusion.
        response: the divergence of the student's predictions from the teacher's.
        feature: the distance of the student's embeddings from the teacher's.
    """

    total: Tensor
    classification: Tensor
    fusion: Tensor
    response: Tensor
    feature: Tensor


class SGFDLoss(nn.Module):
    r"""The distillation loss, added to a recommender's own.

    .. math::
        L = \lambda_{ce}\,(\bar L_{class} + L_{fusion})
          + \lambda_{kd}\,(\bar L_{resp} + \bar L_{feat})

    with bars for means over modalities (Liu et al., MM 2023). No parameters.

    Args:
        ce_weight: weight of the two label losses, at least 0.
        kd_weight: weight of the two distillation losses, at least 0. At ``ce_weight`` 0.1
            and 0.01 for this one, VBPR and BM3 on four real datasets, with their own layers,
            ranked within 2.5 % of what they do without, GRCN 8 and 3 % worse on two of three,
            MAML 2 and 8 % on two; at 0.1, 3 and 11 % worse where that was tried (one seed each,
            docs/study.md). To be tuned like any loss weight. Both may be set between steps;
            ``sgfd.training.fit`` takes a schedule.
        temperature: of response distillation, above 0.
        detach_teacher: whether the teacher's embeddings and predictions are constants in the two
            distillation terms, so that the student comes to the teacher and not the teacher to
            the student. The classifiers, which both share, still learn from the student's side.
            The release lets the gradient through.
        classification: label loss, one value per label, of each modality's logits. With
            ``ce_weight`` 0 the extractors get no gradient, of which DistributedDataParallel has
            to be told (``find_unused_parameters=True``).
        fusion: label loss, one value per label, of the fused logits.
        response: divergence per row of logits at a temperature. The defaults of these three are
            for one label per item; for multi-hot labels there are ``binary_cross_entropy`` and
            ``bernoulli_kl``, for a hierarchy the two of ``hierarchy()``.
        feature: distance per row of embeddings.

    Attributes:
        joined: from the counts that a term divides by, () or (L,), to those to divide by instead,
            where the items are one process's share of a batch. Set inside
            ``sgfd.distributed.joined_counts``; otherwise None.

    Raises:
        TypeError: for what is no function where one is due.
        ValueError: for a negative weight or a temperature that is not positive.

    Example:
        >>> import torch
        >>> from sgfd import FeatureStudent, SemanticTeacher, SGFDLoss
        >>> teacher = SemanticTeacher({"text": 384}, 64, num_classes=10)
        >>> student = FeatureStudent(384, 64)
        >>> x, labels = torch.randn(5, 384), torch.tensor([3, 1, -1, 3, 9])
        >>> learned = teacher.judge({"text": student.embed(x)})
        >>> terms = SGFDLoss().terms(teacher({"text": x}), learned, labels)
        >>> terms.total.backward()
    """

    def __init__(
        self,
        *,
        ce_weight: float = 0.1,
        kd_weight: float = 0.01,
        temperature: float = 10.0,
        detach_teacher: bool = True,
        classification: LabelLoss = cross_entropy,
        fusion: LabelLoss = cross_entropy,
        response: ResponseDivergence = kl_divergence,
        feature: FeatureDivergence = squared_distance,
    ) -> None:
        super().__init__()
        check_number("temperature", temperature, above=0)
        named = {"classification": classification, "fusion": fusion}
        for name, function in (named | {"response": response, "feature": feature}).items():
            check_function(name, function)
        self.ce_weight, self.kd_weight, self.temperature = ce_weight, kd_weight, temperature
        self.detach_teacher = detach_teacher
        self.classification, self.fusion = classification, fusion
        self.response, self.feature = response, feature
        self.joined: JoinCounts | None = None

    def forward(
        self,
        taught: Said,
        learned: Said,
        labels: Tensor,
        multiplicity: Tensor | None = None,
        present: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """``terms(...).total``."""
        return self.terms(taught, learned, labels, multiplicity, present).total

    def terms(
        self,
        taught: Said,
        learned: Said,
        labels: Tensor,
        multiplicity: Tensor | None = None,
        present: Mapping[str, Tensor] | None = None,
    ) -> SGFDTerms:
        """The loss and its parts.

        Args:
            taught: of the teacher, for N items.
            learned: of the students, by the teacher's classifiers, for the same items.
            labels: int64, -1 where unknown: (N,), multi-hot (N, C), or one column per level of
                a hierarchy (N, L). Items without a known one take part in the two distillation
                terms only.
            multiplicity: (N,) positive counts, where each item stands for as many rows of a
                batch; None for one each. The result equals that of the repeated rows.
            present: ``{modality: (N,) bool}`` for modalities that some items lack. Such an item
                takes no part in that modality's terms (what its rows hold must be finite, and is
                not read otherwise), nor in fusion if it lacks them all.

        Raises:
            TypeError: for arguments of other types.
            ValueError: if modalities, shapes, dtypes or devices differ, or a label is out of range
                (checked where labels are on the CPU; a GPU reports it itself).
        """
        present = {} if present is None else present
        check_terms(taught, learned, labels, multiplicity, present)
        classification, fusion = label_losses(self, taught, labels, multiplicity, present)
        count = {m: times(present.get(m), multiplicity) for m in taught.logits}

        def target(x: Tensor) -> Tensor:
            return x.detach() if self.detach_teacher else x

        response = _mean(
            response_loss(
                target(taught.logits[m]),
                learned.logits[m],
                count[m],
                temperature=self.temperature,
                divergence=self.response,
                joined=self.joined,
            )
            for m in taught.logits
        )
        feature = _mean(
            feature_loss(
                target(taught.embeddings[m]),
                learned.embeddings[m],
                count[m],
                divergence=self.feature,
                joined=self.joined,
            )
            for m in taught.logits
        )
        # A part without weight is left out, so that its parameters get no gradient at all, not one
        # of zeros, by which an optimizer with momentum or decay would still move them.
        total = torch.zeros_like(classification)
        if self.ce_weight > 0:
            total = total + self.ce_weight * (classification + fusion)
        if self.kd_weight > 0:
            total = total + self.kd_weight * (response + feature)
        return SGFDTerms(total, classification, fusion, response, feature)

    def __setattr__(self, name: str, value: Any) -> None:
        """Checks the two weights whenever they are set, as a schedule may do."""
        if name in ("ce_weight", "kd_weight"):
            check_number(name, value.item() if isinstance(value, Tensor) else value, at_least=0)
        super().__setattr__(name, value)

    def extra_repr(self) -> str:
        """The weights."""
        return (
            f"ce_weight={self.ce_weight}, kd_weight={self.kd_weight}, "
            f"temperature={self.temperature}, detach_teacher={self.detach_teacher}"
        )


def label_losses(
    loss: SGFDLoss,
    said: Said,
    labels: Tensor,
    multiplicity: Tensor | None,
    present: Mapping[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """Classification and fusion loss of what a teacher says, without weights."""
    classification = _mean(
        classification_loss(
            logits,
            labels,
            times(present.get(m), multiplicity),
            divergence=loss.classification,
            joined=loss.joined,
        )
        for m, logits in said.logits.items()
    )
    if said.fused_logits is None:
        return classification, torch.zeros_like(classification)
    count = times(any_present(present, list(said.logits)), multiplicity)
    fusion = classification_loss(
        said.fused_logits, labels, count, divergence=loss.fusion, joined=loss.joined
    )
    return classification, fusion


def _mean(losses: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
