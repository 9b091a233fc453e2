"""What backbones ask of interactions, batches and users, before torch is asked."""

from typing import Any, Protocol

import torch
from scipy.sparse import csr_array

from sgfd._checks import check_sparse
from sgfd._tensor_checks import check_indices, check_range


class Sized(Protocol):
    """A model that says how many users and items it knows."""

    num_users: int
    num_items: int


def sizes(interactions: csr_array) -> tuple[int, int]:
    """(num_users, num_items), or TypeError for what is not sparse."""
    check_sparse("interactions", interactions)
    return interactions.shape


def check_parts(batch: Any, *, negatives: bool) -> tuple[str, ...]:
    """The names of a batch's parts, or TypeError for what has not as many."""
    names = ("users", "items", "negatives")[: 3 if negatives else 2]
    if not isinstance(batch, (tuple, list)) or len(batch) < len(names):
        of = f" of {len(batch)}" if hasattr(batch, "__len__") else ""
        raise TypeError(
            f"A batch must be a Batch or a tuple of {', '.join(names)}; got "
            f"{type(batch).__qualname__}{of}."
        )
    return names


def check_batch(batch: Any, model: Sized, *, negatives: bool) -> None:
    """Raises TypeError or ValueError for what is no batch of a model.

    Indices are looked at on the CPU only; a GPU reports them itself.
    """
    names = check_parts(batch, negatives=negatives)
    for name, part in zip(names, batch, strict=False):
        check_indices(f"A batch's {name} must be", part)
    users, items = batch[0], batch[1]
    if users.ndim != 1 or users.shape != items.shape or len(users) == 0:
        raise ValueError(
            "A batch must have users and items of one shape (B,), B >= 1; got "
            f"{tuple(users.shape)} and {tuple(items.shape)}."
        )
    if negatives and (batch[2].ndim != 2 or len(batch[2]) != len(users) or batch[2].shape[1] < 1):
        raise ValueError(
            f"This backbone needs negatives of shape ({len(users)}, n), n >= 1; got "
            f"{tuple(batch[2].shape)}. Sample with num_negatives >= 1."
        )
    if torch.compiler.is_compiling():
        return
    for name, part in zip(names, batch, strict=False):
        if part.device.type == "cpu":
            size = model.num_users if name == "users" else model.num_items
            check_range(f"A batch's {name} must be", part, size)
