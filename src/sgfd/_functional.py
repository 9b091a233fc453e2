"""Small steps that several parts share and that must be the same in each."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Callable[[Tensor], Tensor]


def activate(x: Tensor, activation: Activation | None, normalize: bool) -> Tensor:
    """``x / max(||x||_2, 1e-12)`` per row after ``activation``; either may be left out."""
    if activation is not None:
        x = activation(x)
    return F.normalize(x, dim=-1) if normalize else x


def describe(activation: Activation | None) -> str:
    """A short name of an activation, for ``print(module)``."""
    return "None" if activation is None else getattr(activation, "__name__", repr(activation))


class Distinct(NamedTuple):
    """Distinct values, where each element went among them, and how often each came."""

    values: Tensor
    inverse: Tensor
    counts: Tensor


def distinct(indices: Tensor) -> Distinct:
    """The distinct indices, sorted, so that work on items is done once for each."""
    return Distinct(*torch.unique(indices, return_inverse=True, return_counts=True))
