"""Semantic labels, from what a catalog has to what a loss takes."""

import math
import warnings
from collections.abc import Iterable, Mapping
from numbers import Integral, Real
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from sgfd._checks import check_integer, check_order, check_unmasked

# What is left of an unknown label that was made a string.
_LOST = ("nan", "none", "null", "<na>")


class EncodedLabels(NamedTuple):
    """Labels as class indices.

    Attributes:
        labels: (N,) int64, indices into ``classes``; -1 where unknown.
        classes: the distinct labels as strings, sorted.
    """

    labels: Tensor
    classes: tuple[str, ...]


def encode_labels(values: Iterable[object]) -> EncodedLabels:
    """Class indices of labels given as strings (or anything with a name).

    Args:
        values: N labels. None, NaN, pandas.NA, the empty string and -1 mean unknown. What is
            equal as a string is one class.

    Returns:
        The indices, and the names that they index.

    Raises:
        TypeError: if it is no sequence of labels, one for each item.
        ValueError: if no label is known, or a pandas Series has another order than its index.

    Warns:
        UserWarning: for a class named "nan", "None" or the like.

    Example:
        >>> from sgfd import encode_labels
        >>> labels, classes = encode_labels(["toys", None, "games", "toys", ""])
        >>> labels
        tensor([ 1, -1,  0,  1, -1])
        >>> classes
        ('games', 'toys')
    """
    names = [None if _unknown(value) else str(value) for value in listed(values)]
    classes = tuple(sorted({name for name in names if name is not None}))
    if not classes:
        raise ValueError(f"At least one label must be known; got {len(names)} unknown ones.")
    if lost := [name for name in classes if name.lower() in _LOST]:
        warnings.warn(
            f"labels have a class named {lost[0]!r}, {names.count(lost[0])} items. If that says "
            "unknown, give None or NaN itself, not its name (pandas: before astype(str)).",
            stacklevel=2,
        )
    index = {name: i for i, name in enumerate(classes)}
    labels = torch.tensor([-1 if name is None else index[name] for name in names])
    return EncodedLabels(labels, classes)


def listed(values: object) -> list[object]:
    """Labels one by one, as plain values where they come in a tensor or an array.

    Raises:
        TypeError: for what is no sequence of single labels.
    """
    labels: list[object] = []
    check_order("labels", values)
    if isinstance(values, (Tensor, np.ndarray)):
        fits = values.ndim == 1
        labels = values.tolist() if fits else []
    else:
        fits = isinstance(values, Iterable) and not isinstance(values, (str, bytes, Mapping))
        labels = list(cast("Iterable[object]", values)) if fits else []
    if not fits or any(isinstance(y, (list, tuple, dict, set, Tensor, np.ndarray)) for y in labels):
        raise TypeError(
            "labels must be a sequence with one label for each item, strings or numbers; got "
            f"{type(values).__qualname__}{' with several each' if fits else ''}."
        )
    return labels


def class_indices(values: Iterable[object]) -> EncodedLabels:
    """Labels that may be class indices already: integers and unknown ones keep their values.

    Args:
        values: N integers with -1, None or NaN for unknown, or labels as in ``encode_labels``.
            Whole floats are the integers they are: pandas makes floats of integers beside NaN.

    Returns:
        The indices; ``classes`` is empty where they came as integers.

    Raises:
        TypeError: as ``encode_labels``.
        ValueError: for numbers that are not whole, or if labels have names and none is known.
    """
    values = listed(values)
    known = [v for v in values if not _unknown(v)]
    if not known or any(not isinstance(v, Real) for v in known):
        return encode_labels(values)
    if broken := [v for v in known if isinstance(v, bool) or not _whole(v)]:
        raise ValueError(
            f"labels that are numbers must be whole, the indices of classes; got {broken[0]}. If "
            "it names a class, give strings."
        )
    return EncodedLabels(torch.tensor([-1 if _unknown(v) else int(v) for v in values]), ())  # type: ignore[call-overload]


def balanced_class_weights(labels: "Tensor | np.ndarray", num_classes: int | None = None) -> Tensor:
    r"""Weights by which rare classes count as much as common ones.

    .. math:: w_c = n / (K n_c)

    with n known labels in all, n_c of class c, and K classes that have an item (scikit-learn's
    'balanced'). Their mean over the known labels is 1, so that the loss keeps its scale.

    Args:
        labels: (N,) class indices, -1 where unknown; or multi-hot (N, C).
        num_classes: None for the largest label + 1, or C.

    Returns:
        (num_classes,) float32; 1 for classes without an item.

    Raises:
        TypeError: if labels are not numbers.
        ValueError: if they are of other shapes or dtypes, none is known, or one is not below
            ``num_classes``.

    Example:
        >>> from functools import partial
        >>> import torch
        >>> from sgfd import SGFDLoss, balanced_class_weights, cross_entropy
        >>> weights = balanced_class_weights(torch.tensor([0, 0, 0, 1, -1]))
        >>> weights
        tensor([0.6667, 2.0000])
        >>> weighted = partial(cross_entropy, class_weights=weights)
        >>> loss = SGFDLoss(classification=weighted, fusion=weighted)
    """
    if num_classes is not None:
        check_integer("num_classes", num_classes, at_least=1)
    check_unmasked("labels", labels)
    try:
        y = torch.as_tensor(labels).cpu()
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(
            f"labels must be a tensor or an array of integers; got {type(labels).__qualname__}. "
            "Names become indices by encode_labels."
        ) from None
    kind, whole = y.dtype, not (y.is_floating_point() or y.is_complex() or y.dtype == torch.bool)
    y = y.long() if whole else y  # as uint8, -1 would be 255
    if y.ndim not in (1, 2) or not whole or (y < -1).any():
        least = f", the least {int(y.min())}" if whole and y.numel() else ""
        raise ValueError(
            "labels must be (N,) class indices or (N, C) multi-hot, integers, -1 where unknown; "
            f"got shape {tuple(y.shape)} of {kind}{least}."
        )
    if y.ndim == 2:
        if num_classes not in (None, y.shape[1]) or (y > 1).any():
            raise ValueError(
                f"multi-hot labels must be 0 or 1, one column per class; got {y.shape[1]} columns, "
                f"num_classes={num_classes} and the largest {int(y.max())}."
            )
        num_classes = y.shape[1]
        y = (y > 0).nonzero()[:, 1]
    counts = torch.bincount(y[y >= 0], minlength=num_classes or 0)
    if counts.sum() == 0:
        raise ValueError("At least one label must be known to weight classes by; got none.")
    if num_classes is not None and len(counts) != num_classes:
        raise ValueError(f"labels must be below num_classes={num_classes}; got {len(counts) - 1}.")
    weights = counts.sum() / ((counts > 0).sum() * counts)
    return torch.where(counts > 0, weights, 1.0)


def _whole(value: object) -> bool:
    return isinstance(value, Integral) or float(value).is_integer()  # type: ignore[arg-type]


def _unknown(value: object) -> bool:
    if value is None or (isinstance(value, str) and value == ""):
        return True
    if type(value).__name__ in ("NAType", "NaTType"):  # pandas's, without importing it
        return True
    # Real includes NumPy's numbers.
    return isinstance(value, Real) and (value == -1 or math.isnan(value))
