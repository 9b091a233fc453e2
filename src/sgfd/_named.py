"""Functions and plain values as JSON: what a model computes with, said in a file."""

from functools import partial
from pkgutil import resolve_name
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_HERE = (
    *(f"torch.nn.functional.{name}" for name in ("leaky_relu", "relu", "gelu", "silu", "elu")),
    *(f"torch.{name}" for name in ("tanh", "sigmoid", "relu")),
    *(f"sgfd.{name}" for name in ("cross_entropy", "kl_divergence", "squared_distance")),
    *(f"sgfd.{name}" for name in ("binary_cross_entropy", "bernoulli_kl")),
    "sgfd.release.cross_entropy_of_probabilities",
    "sgfd.release.mean_absolute_difference",
    "sgfd.release.mean_squared_error",
)
# Name in a file -> where the function is. No other is ever looked up by what a file says.
_PLACES = {name: name for name in _HERE} | {
    "sgfd.hierarchy.classification": "sgfd._hierarchy._cross_entropies",
    "sgfd.hierarchy.response": "sgfd._hierarchy._divergence",
}


_LARGEST = 100_000  # elements of a tensor that are written out, such as class weights


class NotPlainError(TypeError):
    """A value that JSON cannot say."""


class CustomFunctionError(LookupError):
    """A function that a file names and that is not among those that it can bring back."""


def encode(value: object) -> Any:
    """A plain value or a function, as JSON.

    A function of torch's or sgfd's is ``{"function": name}``, any other ``{"custom": name}``, by
    which it can be compared and not brought back; ``functools.partial`` adds ``arguments``.

    Raises:
        NotPlainError: for other objects.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, torch.dtype):
        return str(value)
    if isinstance(value, (list, tuple)):
        return [encode(x) for x in value]
    if isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise NotPlainError("a dict with keys that are not strings")
        return {key: encode(x) for key, x in value.items()}
    if isinstance(value, Tensor):
        if value.layout != torch.strided or value.is_meta or value.numel() > _LARGEST:
            raise NotPlainError("a tensor that is sparse, large or without values")
        return {"tensor": value.tolist(), "dtype": str(value.dtype).removeprefix("torch.")}
    if callable(value):
        return _encode_function(value)
    raise NotPlainError(type(value).__qualname__)


def _encode_function(function: Any) -> dict[str, Any]:
    if isinstance(function, partial):
        said = _encode_function(function.func)
        try:
            arguments = encode(function.keywords)
        except NotPlainError:
            arguments = None
        if arguments is None or function.args:
            return {"custom": f"partial({readable(said)}, ...)"}
        return said | {"arguments": arguments}
    name = getattr(function, "__name__", type(function).__name__)
    for known, place in _PLACES.items():
        if place.rpartition(".")[2] == name and resolve_name(place) is function:
            return {"function": known}
    return {"custom": repr(function) if isinstance(function, nn.Module) else name}


def readable(value: Any) -> str:
    """What ``encode`` made, for a message."""
    if isinstance(value, dict) and ("function" in value or "custom" in value):
        name = value.get("function", value.get("custom"))
        arguments = ", ".join(f"{k}={readable(x)}" for k, x in value.get("arguments", {}).items())
        return f"partial({name}, {arguments})" if arguments else str(name)
    return repr(value)


def decode(value: Any) -> Any:
    """What ``encode`` was given, lists as tuples.

    Raises:
        CustomFunctionError: for a function that is not torch's or sgfd's.
    """
    if isinstance(value, list):
        return tuple(decode(x) for x in value)
    if not isinstance(value, dict):
        return value
    if "tensor" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"]))
    if "custom" in value or value.get("function", "") not in {"", *_PLACES}:
        raise CustomFunctionError(value.get("custom", value.get("function")))
    if "function" in value:
        function = resolve_name(_PLACES[value["function"]])
        arguments = decode(value.get("arguments", {}))
        return partial(function, **arguments) if arguments else function
    return {key: decode(x) for key, x in value.items()}
