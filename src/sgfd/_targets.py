"""What distill() is given as labels: one per item, several, or one on each of several levels."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sgfd._checks import check_integer, check_order
from sgfd._hierarchy import hierarchy
from sgfd._labels import class_indices
from sgfd._loss import SGFDLoss
from sgfd._multilabel import bernoulli_kl, binary_cross_entropy
from sgfd._tensor_checks import check_held
from sgfd._terms import kl_divergence

ItemLabels: TypeAlias = "Tensor | np.ndarray | Sequence[object]"


class Targets(NamedTuple):
    """Checked labels.

    Attributes:
        labels: (N,) int64, multi-hot (N, C) int8, or (N, L) int64 with a column per level; -1
            where unknown.
        levels: the names of the levels of a hierarchy; empty for the other two.
    """

    labels: Tensor
    levels: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Which of the three, in words."""
        if self.levels:
            return f"a hierarchy ({', '.join(self.levels)})"
        return "one per item" if self.labels.ndim == 1 else "multi-hot"


def read_labels(labels: "ItemLabels | Mapping[str, ItemLabels] | None") -> Targets:
    """Checks labels, and tells which kind they are."""
    if labels is None:
        raise ValueError(
            _contract("None. SGFD teaches labels: a catalog without any needs some first")
        )
    if isinstance(labels, Mapping):
        columns = {level: _one_per_item(y, f" of level {level!r}") for level, y in labels.items()}
        lengths = {level: len(y) for level, y in columns.items()}
        if len(columns) < 2 or len(set(lengths.values())) > 1:
            raise ValueError(
                "A hierarchy must have two levels or more, each with a label per item; got levels "
                f"of lengths {lengths}."
            )
        return Targets(torch.stack(list(columns.values()), dim=1), tuple(map(str, columns)))
    if getattr(labels, "ndim", 1) == 2:
        return Targets(_multi_hot(labels), ())
    return Targets(_one_per_item(labels, ""), ())


def count_classes(
    targets: Targets, num_classes: int | Mapping[str, int] | None, *, taught: int | None
) -> tuple[int, ...]:
    """The numbers of classes, one, or one per level: declared, the teacher's, or the labels' own.

    Args:
        targets: the labels.
        num_classes: as declared; None for ``taught`` or what the labels have.
        taught: what the teacher has, in all, and they must come to; None without a teacher.
    """
    if num_classes is None and not targets.levels:
        num_classes = taught
    sizes = _sizes(targets, num_classes)
    if taught is not None and sum(sizes) != taught:
        raise ValueError(
            f"num_classes must be the teacher's ({taught}); got {' + '.join(map(str, sizes))}."
        )
    return sizes


def _sizes(targets: Targets, num_classes: int | Mapping[str, int] | None) -> tuple[int, ...]:
    y = targets.labels
    if targets.levels:
        if num_classes is not None and (
            not isinstance(num_classes, Mapping) or tuple(num_classes) != targets.levels
        ):
            raise ValueError(
                "num_classes of a hierarchy must be given per level, "
                f"{{{', '.join(f'{level!r}: ...' for level in targets.levels)}}}, in this order; "
                f"got {num_classes}."
            )
        declared = {} if num_classes is None else num_classes
        return tuple(
            _count(y[:, i], declared.get(level), f" of level {level!r}")
            for i, level in enumerate(targets.levels)
        )
    if isinstance(num_classes, Mapping):
        raise ValueError(f"num_classes must be a number; got {num_classes}.")
    if y.ndim == 1:
        return (_count(y, num_classes, ""),)
    if num_classes is None and int(y.max()) < 0:
        raise ValueError("No label is known; pass num_classes= if that is meant.")
    if num_classes not in (None, y.shape[1]):
        raise ValueError(
            f"num_classes of multi-hot labels must be their width {y.shape[1]}; got {num_classes}."
        )
    return (y.shape[1],)


def default_loss(targets: Targets, sizes: tuple[int, ...]) -> SGFDLoss:
    """The loss with its default weights that fits the labels."""
    if targets.levels:
        levels = hierarchy(sizes)
        return SGFDLoss(
            classification=levels.classification,
            fusion=levels.classification,
            response=levels.response,
        )
    if targets.labels.ndim == 1:
        return SGFDLoss()
    return SGFDLoss(
        classification=binary_cross_entropy, fusion=binary_cross_entropy, response=bernoulli_kl
    )


def check_fit(loss: SGFDLoss, targets: Targets, sizes: tuple[int, ...], like: Tensor) -> None:
    """Raises ValueError if the functions of a loss cannot take the labels."""
    single = targets.labels.ndim == 1
    advice = "cross_entropy as classification= and fusion=, kl_divergence as response="
    if targets.levels:
        advice = (
            f"hierarchy({sizes}).classification as classification= and fusion=, its .response as "
            "response= (and num_classes={level: ...} if levels are of another size)"
        )
    elif not single:
        advice = "binary_cross_entropy as classification= and fusion=, bernoulli_kl as response="

    def check(name: str, values: Callable[[], Tensor], shape: torch.Size) -> None:
        problem, cause = "", None
        try:
            got = values().shape
            if got != shape:
                problem = f"it gives {tuple(got)} where {tuple(shape)} is due"
        except Exception as error:  # whatever a function of the caller's own may raise
            problem, cause = str(error) or repr(error), error
        if problem:
            raise ValueError(
                f"The {name}= of the loss does not fit the labels, which are {targets.kind}: "
                f"{problem}. Pass SGFDLoss with {advice}; or no loss, for these with the default "
                "weights."
            ) from cause

    # Tried on one row: what a function of the caller's own takes cannot be known otherwise.
    z = like.detach().new_zeros(1, sum(sizes))
    y = targets.labels.amax(0, keepdim=True).clamp(min=0).to(z.device, torch.int64)
    check("classification", lambda: loss.classification(z, y), y.shape)
    check("fusion", lambda: loss.fusion(z, y), y.shape)

    def respond() -> Tensor:
        # These two take any logits, so a mix-up would not show.
        if loss.response is (bernoulli_kl if single or targets.levels else kl_divergence):
            raise ValueError("it is meant for labels of another kind")
        if loss.response is kl_divergence and targets.levels:
            raise ValueError("it would take all levels for one")
        return loss.response(z, z, loss.temperature)

    check("response", respond, y.shape[:1])


def _contract(got: str) -> str:
    return (
        "labels must be (num_items,) class indices, -1 where unknown, or strings; a multi-hot "
        "array (num_items, C) of 0 and 1, with rows of -1 where unknown; or, for a hierarchy, "
        f"{{level: (num_items,) labels}}; got {got}."
    )


def _one_per_item(labels: "ItemLabels", where: str) -> Tensor:
    check_order(f"labels{where}", labels)
    check_held(f"labels{where}", labels)
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "biufc":
        # A copy: torch warns of arrays that it must not write to.
        labels = torch.from_numpy(np.array(labels, dtype=labels.dtype.newbyteorder("=")))
    if isinstance(labels, Tensor) and labels.ndim == 1 and labels.is_floating_point():
        labels = labels.tolist()  # whole numbers, and NaN where unknown
    if not isinstance(labels, Tensor):
        if isinstance(labels, (str, bytes)) or not hasattr(labels, "__iter__"):
            raise ValueError(_contract(f"{labels!r}{where}"))
        labels = list(labels)
        if any(hasattr(y, "__len__") and not isinstance(y, (str, bytes)) for y in labels):
            raise ValueError(_contract(f"a sequence of {type(labels[0]).__qualname__}{where}"))
        labels = class_indices(labels).labels
    if labels.ndim != 1 or len(labels) == 0 or not _integral(labels) or labels.is_meta:
        kind = f"{labels.dtype}{' on meta' if labels.is_meta else ''}{where}"
        raise ValueError(_contract(f"shape {tuple(labels.shape)} of {kind}"))
    labels = labels.detach().to(torch.int64)
    if int(labels.min()) < -1:
        raise ValueError(f"labels must be at least -1 (unknown); got {int(labels.min())}{where}.")
    return labels


def _multi_hot(labels: "ItemLabels") -> Tensor:
    check_order("labels", labels)
    check_held("labels", labels)
    if not isinstance(labels, Tensor):
        array = np.asarray(labels)
        if array.dtype.kind not in "biuf":
            raise ValueError(_contract(f"shape {array.shape} of {array.dtype}"))
        labels = torch.from_numpy(array.astype(np.float64 if array.dtype.kind == "f" else np.int64))
    y = labels.detach()
    y = y.long() if y.dtype == torch.uint8 else y  # as which -1 would equal 255
    bad = (y != 0) & (y != 1) & (y != -1)
    if bad.any() or 0 in y.shape or y.shape[1] < 2:
        example = f", such as {y[bad][0].item()}" if bad.any() else ""
        raise ValueError(_contract(f"shape {tuple(y.shape)} of {y.dtype}{example}"))
    if not (y == 1).any() and not (y == -1).all():
        raise ValueError(_contract(f"shape {tuple(y.shape)} without a single 1"))
    return y.to(torch.int8)


def _integral(y: Tensor) -> bool:
    return not y.is_floating_point() and not y.is_complex() and y.dtype != torch.bool


def _count(y: Tensor, num_classes: int | None, where: str) -> int:
    largest = int(y.max())
    if num_classes is None:
        if largest < 0:
            raise ValueError(f"No label{where} is known; pass num_classes= if that is meant.")
        if largest == 0 and not where:
            raise ValueError(
                "labels must be of at least two classes; got one, 0, which tells no item from "
                "another. Pass num_classes= if there are more."
            )
        if largest >= len(y):
            raise ValueError(
                f"labels must count from 0, at most one class per item ({len(y)}) where no "
                f"num_classes= says more; got {largest}{where}, which looks like a raw id. Give "
                "ids as strings."
            )
        return largest + 1
    check_integer("num_classes", num_classes, at_least=2)
    if largest >= num_classes:
        raise ValueError(f"labels must be below num_classes={num_classes}; got {largest}{where}.")
    return num_classes
