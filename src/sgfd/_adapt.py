"""What training losses of other people's take and return."""

from typing import Any

import torch
from torch import Tensor

from sgfd._functional import Distinct, distinct
from sgfd._tensor_checks import INDICES


def item_indices(items: Any) -> Tensor:
    """Checks the item indices of a batch, and takes them off any graph."""
    if (
        not isinstance(items, Tensor)
        or items.dtype not in INDICES
        or items.numel() == 0
        or items.is_meta
    ):
        got = f"{tuple(items.shape)} of {items.dtype}" if hasattr(items, "dtype") else repr(items)
        raise ValueError(
            f"items must be a tensor of at least one int64 (or int32) item index; got {got}."
        )
    return items.detach()


def distinct_items(items: Any, labels: Tensor, *, look: bool) -> Distinct:
    """The distinct items of a batch, on the labels' device, and how often each came.

    Args:
        items: of the batch.
        labels: one per item.
        look: whether they are looked at where that device has to be waited for, and itself refuses
            what is out of range.
    """
    found, num_items = distinct(item_indices(items).to(labels.device, torch.int64)), len(labels)
    if labels.device.type not in ("cpu", "mps") and not look:  # these say nothing themselves
        return found
    if found.values[0] < 0 or found.values[-1] >= num_items:
        raise ValueError(
            f"items must be in 0..{num_items - 1}; got {int(found.values[0])}.."
            f"{int(found.values[-1])}. If items are numbered after users, subtract the users."
        )
    return found


def add_to_loss(loss: Any, extra: Tensor) -> Any:
    """Adds to a loss tensor, the first of a tuple or list, or a dict's ``"loss"``."""
    if isinstance(loss, Tensor):
        return loss + extra
    if isinstance(loss, dict) and "loss" in loss:
        return {**loss, "loss": loss["loss"] + extra}
    if isinstance(loss, (tuple, list)) and loss:
        first, *rest = loss
        added = (first + extra, *rest)
        return loss._make(added) if hasattr(loss, "_make") else type(loss)(added)
    raise TypeError(
        "The training loss must be a tensor, a tuple or list that begins with it, or a dict that "
        f"has it under 'loss'; got {type(loss).__qualname__}."
    )
