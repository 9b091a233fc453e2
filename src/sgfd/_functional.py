"""Small steps that several parts share and that must be the same in each."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]


def activate(x: Tensor, activation: Activation | None, normalize: bool) -> Tensor:
    """``x / ||x||_2`` per row after ``activation``; either may be left out.

    A row shorter than 1e-12 has no direction and stays as it is: divided by so small a number, as
    is usual, its gradient would drown every other (items without an image are rows of zeros).
    """
    if activation is not None:
        x = activation(x)
    if not normalize:
        return x
    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / torch.where(length > 1e-12, length, torch.ones_like(length))


def widen(x: Tensor) -> Tensor:
    """At least float32: sums and differences of half-precision numbers lose too much."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def describe(activation: Activation | None) -> str:
    """A short name of an activation, for ``print(module)``."""
    return "None" if activation is None else getattr(activation, "__name__", repr(activation))


def check_modalities(names: Iterable[str]) -> None:
    """Raises ValueError for names that cannot be those of modules."""
    for name in names:
        if not isinstance(name, str) or not name or "." in name or hasattr(nn.ModuleDict(), name):
            raise ValueError(
                "A modality's name becomes a module's: it must be a string, not empty, without a "
                f"dot and no attribute of nn.ModuleDict; got {name!r}. Rename it."
            )


def take(table: Tensor, rows: Tensor) -> Tensor:
    """``table[rows]``, repeats and all, (*rows.shape, D), with the same gradient every time.

    That of ``table[rows]`` adds up repeats in whatever order the threads of a CPU come.
    """
    return F.embedding(rows, table)


def versions(*tensors: Tensor | None) -> tuple[int, ...] | None:
    """How often each was changed in place; None where torch does not count (inference mode)."""
    if any(x is not None and x.is_inference() for x in tensors):
        return None
    return tuple(0 if x is None else x._version for x in tensors)


def same_memory(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors look at the same memory in the same way."""
    alike = (a.device, a.dtype, a.shape, a.stride()) == (b.device, b.dtype, b.shape, b.stride())
    return alike and a.data_ptr() == b.data_ptr()


def copied_state(module: nn.Module) -> dict[str, Any]:
    """A state dict that further training does not change."""
    # Not all are tensors: a module's own extra state need not be.
    return {
        name: x.detach().clone() if isinstance(x, Tensor) else deepcopy(x)
        for name, x in module.state_dict().items()
    }


@contextmanager
def cast_anew() -> Iterator[None]:
    """Under an autocast of the caller's, parameters are cast at each use.

    Autocast keeps what it cast until the outermost one ends: around a whole training, the first
    step's parameters.
    """
    before = torch.is_autocast_cache_enabled()
    around = torch.is_autocast_enabled("cpu") or torch.is_autocast_enabled("cuda")
    torch.set_autocast_cache_enabled(before and not around)
    torch.clear_autocast_cache()
    try:
        yield
    finally:
        torch.set_autocast_cache_enabled(before)


class Distinct(NamedTuple):
    """Distinct values, where each element went among them, and how often each came."""

    values: Tensor
    inverse: Tensor
    counts: Tensor


def distinct(indices: Tensor) -> Distinct:
    """The distinct indices, sorted, so that work on items is done once for each."""
    return Distinct(*torch.unique(indices, return_inverse=True, return_counts=True))
