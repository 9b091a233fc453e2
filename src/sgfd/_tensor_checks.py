"""What is asked of tensors, so that nothing is broadcast or wrapped around by mistake."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor

from sgfd._checks import check_mapping, check_tensor, check_unmasked

INDICES = (torch.int64, torch.int32)
"""The dtypes of indices."""


def check_label_tensors(logits: Tensor, labels: Tensor) -> None:
    """Raises TypeError or ValueError for what is no logits and labels of one device."""
    check_tensor("logits", logits)
    check_tensor("labels", labels)
    if labels.dtype != torch.int64:
        raise ValueError(f"labels must be int64, -1 where unknown; got {labels.dtype}.")
    if labels.device != logits.device:
        raise ValueError(
            f"labels must be on the device of the logits ({logits.device}); got {labels.device}."
        )


def check_label_range(labels: Tensor, num_classes: int) -> None:
    """Raises ValueError for labels out of range, where looking costs nothing: on a CPU."""
    if labels.device.type == "cpu" and not torch.compiler.is_compiling() and labels.numel():
        low, high = map(int, labels.aminmax())
        if low < -1 or high >= num_classes:
            raise ValueError(
                f"labels must be in -1..{num_classes - 1} (-1 for unknown); got {low}..{high}."
            )


def check_held(name: str, values: object) -> None:
    """Raises ValueError for what does not hold all of its values, row by row, and nothing else."""
    check_unmasked(name, values)
    if hasattr(values, "toarray"):
        raise ValueError(
            f"{name} must hold its values, row by row; got a {type(values).__qualname__}. Use "
            "toarray()."
        )
    if isinstance(values, Tensor) and (values.is_meta or values.layout != torch.strided):
        raise ValueError(
            f"{name} must hold its values, row by row; got a tensor on {values.device} of layout "
            f"{values.layout}. Use to_dense() for a sparse one."
        )


def check_rows(name: str, rows: Tensor, width: int, like: Tensor) -> None:
    """Raises TypeError or ValueError for what a layer with a parameter ``like`` cannot read."""
    check_tensor(name, rows)
    fits = rows.shape[-1:] == (width,) and rows.device == like.device and rows.is_floating_point()
    if not fits or (rows.dtype != like.dtype and not torch.is_autocast_enabled(rows.device.type)):
        raise ValueError(
            f"{name} must have width {width}, be {like.dtype} and on {like.device}, as the layers "
            f"are; got shape {tuple(rows.shape)} of {rows.dtype} on {rows.device}."
        )


def check_alike(teacher: Tensor, student: Tensor) -> None:
    """Raises TypeError or ValueError for what cannot be compared row by row."""
    check_tensor("The teacher's side", teacher)
    check_tensor("The student's side", student)
    if teacher.shape != student.shape or teacher.ndim == 0:
        raise ValueError(
            "The teacher's and the student's side must have one shape, (N, width); got "
            f"{tuple(teacher.shape)} and {tuple(student.shape)}."
        )


def check_present(
    present: Mapping[str, Tensor], modalities: Iterable[str], rows: torch.Size
) -> None:
    """Raises TypeError or ValueError for what is no ``{modality: which items have it}``."""
    check_mapping("present", present)
    for m, there in present.items():
        check_tensor(f"present[{m!r}]", there)
        if m not in modalities or there.shape != rows or there.dtype != torch.bool:
            raise ValueError(
                f"present may have {list(modalities)}, each {tuple(rows)} bool; "
                f"got {m!r}: {tuple(there.shape)} of {there.dtype}."
            )


def check_multiplicity(multiplicity: Tensor | None, shape: torch.Size) -> None:
    """Raises TypeError or ValueError for what is no count per item."""
    if multiplicity is None:
        return
    check_tensor("multiplicity", multiplicity)
    if multiplicity.shape != shape:
        raise ValueError(
            f"multiplicity must have the labels' shape {tuple(shape)}, one count per item; got "
            f"{tuple(multiplicity.shape)}."
        )


def check_values(values: Tensor, multiplicity: Tensor | None, rows: Tensor) -> Tensor:
    """What a divergence gives, or an error unless it is a value per row."""
    check_tensor("What a divergence gives", values)
    if values.shape != rows.shape[:-1]:
        raise ValueError(
            f"A divergence must give one value per row, {tuple(rows.shape[:-1])}; got "
            f"{tuple(values.shape)}. A loss of torch's needs reduction='none', and a sum or mean "
            "over the last dimension."
        )
    check_multiplicity(multiplicity, values.shape)
    return values


def per_class(class_weights: Tensor, logits: Tensor) -> Tensor:
    """Class weights as the logits are, checked to be one per class."""
    check_tensor("class_weights", class_weights)
    if class_weights.shape != logits.shape[-1:]:
        raise ValueError(
            f"class_weights must be one per class ({logits.shape[-1]}); got shape "
            f"{tuple(class_weights.shape)}."
        )
    return class_weights.to(logits)


def check_users(users: Any, num_users: int, *, at_least_one: bool = False) -> Tensor:
    """Users as a tensor of indices, (B,), or an error.

    Raises:
        TypeError: for what is no tensor, array or list of integers.
        ValueError: for other shapes, or users that the model does not know.
    """
    try:
        found = torch.as_tensor(users)
    except (TypeError, ValueError, RuntimeError):
        found = torch.empty(0)
    if isinstance(users, list) and not users:
        found = found.long()
    if found.dtype not in INDICES or found.is_meta:
        got = f"{users.dtype} on {users.device}" if isinstance(users, Tensor) else repr(users)
        raise TypeError(f"users must be a (B,) tensor of int64 indices; got {got}.")
    if found.ndim != 1 or (at_least_one and not len(found)):
        raise ValueError(
            f"users must be (B,) indices in 0..{num_users - 1}{', at least one' * at_least_one}; "
            f"got shape {tuple(found.shape)}."
        )
    if len(found):
        check_range("users must be (B,) indices", found, num_users)
    return found


def check_indices(contract: str, part: Any) -> None:
    """Raises TypeError for what is no tensor of indices."""
    if not isinstance(part, Tensor) or part.dtype not in INDICES or part.is_meta:
        got = f"{part.dtype} on {part.device}" if isinstance(part, Tensor) else type(part)
        raise TypeError(f"{contract} a tensor of int64 or int32 indices; got {got}.")


def check_range(contract: str, indices: Tensor, size: int) -> None:
    """Raises ValueError for indices that are not in 0..size - 1; there must be some."""
    low, high = map(int, indices.aminmax())
    if low < 0 or high >= size:
        raise ValueError(f"{contract} in 0..{size - 1}; got {low}..{high}.")
