"""What recommenders of other people's have, and their training losses take and return."""

import inspect
import reprlib
from collections.abc import Callable
from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from sgfd._functional import Distinct, distinct
from sgfd._tensor_checks import INDICES

# Methods of our backbones that a recommender of somebody else's need not have.
_OURS = ("recommend", "scorer", "scores", "new_scorer", "vectors")


def attribute(backbone: Any, name: str) -> Any:
    """A recommender's attribute."""
    try:
        return getattr(backbone, name)
    except AttributeError as error:
        if name not in _OURS or hasattr(type(backbone), name):
            raise
        raise AttributeError(
            f"{error}. That is a method of the backbones of sgfd; of any other, evaluate() takes a "
            "function from users to scores, and sgfd.export.save_vectors() two tables of vectors."
        ) from None


def of_backbone(model: nn.Module, name: str) -> bool:
    """Whether an attribute that is set on a distilled model belongs to the recommender in it."""
    own = vars(model)
    modules, buffers = own.get("_modules", {}), own.get("_buffers", {})
    ours = name in own or name in modules or name in buffers or hasattr(type(model), name)
    return "backbone" in modules and not ours and hasattr(modules["backbone"], name)


def item_indices(items: Any) -> Tensor:
    """Checks the item indices of a batch, and takes them off any graph."""
    if (
        not isinstance(items, Tensor)
        or items.dtype not in INDICES
        or items.numel() == 0
        or items.is_meta
    ):
        got = (
            f"{tuple(items.shape)} of {items.dtype}"
            if hasattr(items, "dtype")
            else reprlib.repr(items)
        )
        raise ValueError(
            f"items must be a tensor of at least one int64 (or int32) item index; got {got}."
        )
    return items.detach()


def named_items(items: Callable[..., Any], method: str, /, *args: Any, **kwargs: Any) -> Tensor:
    """What ``items=`` returns for the arguments of the loss, whatever their names, checked."""
    if torch.compiler.is_compiling():
        return item_indices(items(*args, **kwargs))
    try:
        found = items(*args, **kwargs)
    except TypeError as error:
        if takes(items, *args, **kwargs):
            raise  # of what it does, not of how it is called
        by_name = f" and {', '.join(kwargs)} by name" if kwargs else ""
        raise TypeError(
            f"items= is called with what {method}() was called with, here {len(args)} positional "
            f"arguments{by_name}: {error}."
        ) from error
    return item_indices(found)


def takes(function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> bool:
    """Whether a function can be called with these arguments, as far as its signature tells."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError:
        return False
    except ValueError:  # of a function that has none
        pass
    return True


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
            f"{int(found.values[-1])}. If items are numbered after users, subtract the users; if "
            "one of them stands for padding, leave it out."
        )
    return found


def add_to_loss(loss: Any, extra: Tensor) -> Any:
    """Adds to a loss tensor, the first of a tuple or list, or a dict's ``"loss"``."""
    if isinstance(loss, dict) and "loss" in loss:
        copied = copy(loss)  # of its own class
        copied["loss"] = _one(loss["loss"]) + extra
        return copied
    if isinstance(loss, (tuple, list)) and loss:
        first, *rest = loss
        added = (_one(first) + extra, *rest)
        return loss._make(added) if hasattr(loss, "_make") else type(loss)(added)
    return _one(loss) + extra


def _one(loss: Any) -> Any:
    if isinstance(loss, (int, float)):
        return loss
    if not isinstance(loss, Tensor):
        raise TypeError(
            "The training loss must be a tensor, a tuple or list that begins with it, or a dict "
            f"that has it under 'loss'; got {type(loss).__qualname__}."
        )
    if loss.numel() != 1:
        raise ValueError(
            f"The training loss must be one number; got shape {tuple(loss.shape)}, to whose every "
            "element the distillation loss would be added. Take its mean (or sum) in the method, "
            "or leave loss_method= out and add distillation_loss(items) where that is done."
        )
    return loss
