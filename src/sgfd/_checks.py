"""What is asked of arguments of the plainest kinds, in one place, so that it is said alike."""

import math
import reprlib
from collections.abc import Mapping
from numbers import Integral, Real
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor


def check_integer(name: str, value: object, *, at_least: int, below: int | None = None) -> int:
    """The value as an int of Python's, or ValueError for no whole number in range; 2.0 is none."""
    x = int(value) if isinstance(value, Integral) and not isinstance(value, bool) else at_least - 1
    if x < at_least or (below is not None and x >= below):
        end = "" if below is None else f" and below {below}"
        raise ValueError(f"{name} must be an integer of at least {at_least}{end}; got {value!r}.")
    return x


def check_number(
    name: str,
    value: object,
    *,
    at_least: float | None = None,
    above: float | None = None,
    below: float | None = None,
) -> float:
    """The value as a float of Python's, or ValueError for no finite number in range."""
    x = float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
    low = (at_least is None or x >= at_least) and (above is None or x > above)
    if not math.isfinite(x) or not low or (below is not None and x >= below):
        start = f"above {above} and" if at_least is None else f"at least {at_least} and"
        start = "a number and" if at_least is None and above is None else start
        end = "finite" if below is None else f"below {below}"
        raise ValueError(f"{name} must be {start} {end}; got {value!r}.")
    return x


def check_device(device: torch.device | str | None) -> torch.device:
    """A device that is there, None for the CPU; otherwise ValueError."""
    try:
        found = torch.device("cpu" if device is None else device)
        torch.empty(0, device=found)
    except (TypeError, RuntimeError, AssertionError) as error:
        found, reason = torch.device("meta"), str(error).partition("\n")[0]
    else:
        reason = "it holds no values"
    if found.type == "meta":
        raise ValueError(f"device must be one that torch has here; got {device!r} ({reason}).")
    return found


def check_path(name: str, given: object) -> Path:
    """A path, or TypeError for what is none."""
    if not isinstance(given, (str, PathLike)):
        raise TypeError(f"{name} must be a path; got {given!r}.")
    return Path(given)


def to_numpy(given: Tensor) -> npt.NDArray[Any]:
    """A tensor's values as an array; NumPy knows no bfloat16, which comes as float32."""
    given = given.detach().cpu()
    return (given.float() if given.dtype == torch.bfloat16 else given).numpy()


def as_array(name: str, given: object) -> npt.NDArray[Any]:
    """An array of what may be one, a tensor too, or ValueError."""
    check_unmasked(name, given)
    try:
        if isinstance(given, Tensor):
            given = to_numpy(given)
        return np.asarray(given)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{name} must be an array, or rows of one length; {type(given).__qualname__} makes "
            f"none ({error})."
        ) from None


def check_mapping(name: str, given: object) -> None:
    """Raises TypeError for what is no ``{modality: ...}``."""
    if not isinstance(given, Mapping):
        raise TypeError(f"{name} must be {{modality: ...}}; got {type(given).__qualname__}.")


def check_tensor(name: str, given: object) -> None:
    """Raises TypeError for what is no tensor, an array say."""
    if not isinstance(given, Tensor):
        raise TypeError(f"{name} must be a torch.Tensor; got {type(given).__qualname__}.")


def check_function(name: str, given: object) -> None:
    """Raises TypeError for what cannot be called, the name of a function say."""
    if not callable(given):
        # Tables of numbers, which are not functions either, are not printed whole.
        raise TypeError(f"{name} must be a function; got {reprlib.repr(given)}.")


def check_activations(**given: object) -> None:
    """Raises TypeError for what is neither a function nor None, each under its name."""
    for name, function in given.items():
        if function is not None:
            check_function(name, function)


def check_unmasked(name: str, given: object) -> None:
    """Raises ValueError for a masked array, of which the rest would be read as if it were there."""
    if isinstance(given, np.ma.MaskedArray):
        raise ValueError(
            f"{name} must be an array without a mask, which would be lost; got a masked array. "
            "Fill it: features, whole rows, by x.filled(numpy.nan), labels by x.filled(-1). Leave "
            "out pairs that are masked."
        )


def check_order(name: str, given: object, *, by: str = "item") -> None:
    """Raises ValueError for what would lose, as an array, its pandas index's order, or its mask."""
    check_unmasked(name, given)
    index = getattr(given, "index", None)
    if index is None or callable(index):  # a list's method
        return
    rows = len(index)
    if not np.array_equal(np.asarray(index), np.arange(rows)):
        raise ValueError(
            f"{name} are taken by position, {by} by {by}, and the index of this "
            f"{type(given).__qualname__} is not 0..{rows - 1}. Pass its .to_numpy() if they are in "
            f"order{', or else .reindex(item_ids).to_numpy()' if by == 'item' else ''}."
        )


def check_sparse(name: str, given: object) -> None:
    """Raises TypeError for what is no SciPy sparse matrix: pairs would be taken for one."""
    from scipy.sparse import issparse

    if not issparse(given):
        raise TypeError(
            f"{name} must be a SciPy sparse (num_users, num_items) array or matrix, such as "
            f"dataset.train; got {type(given).__qualname__}."
        )
