"""Checkpoints that are there whole or not at all."""

import io
import pickle
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins import CheckpointIO
from torch import Tensor
from torch.nn import Parameter
from typing_extensions import override

from sgfd._checks import check_path
from sgfd._files import replace_file


class AtomicCheckpointIO(CheckpointIO):
    """Saves a checkpoint whole or not at all, and loads it without unpickling objects.

    Give it to a ``lightning.Trainer`` as ``plugins=AtomicCheckpointIO()``.
    """

    @override
    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: object = None
    ) -> None:
        """Writes the checkpoint; an older one is lost only once the new one is complete.

        NumPy's numbers, such as a learning rate out of ``np.logspace``, become Python's.

        Raises:
            ValueError: for one that could not be read back: now, and not when it is needed.
        """
        path = Path(path)
        checkpoint = plain(checkpoint)
        if strange := _strange(checkpoint, "checkpoint"):
            raise ValueError(
                "A checkpoint must hold nothing but tensors and plain values, or it could not be "
                f"read back without unpickling objects; got {strange}. Keep tensors, numbers, "
                "strings, and dicts and lists of these there (save_hyperparameters has ignore=)."
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, lambda file: torch.save(checkpoint, file))

    @override
    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads tensors and plain values, to the CPU unless told otherwise.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: for a file that is cut short, holds other objects or is no checkpoint.
        """
        path = check_path("path", path)
        if not path.is_file():
            raise FileNotFoundError(f"path must be a checkpoint; there is no file {path}.")
        try:
            loaded: Any = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        except (EOFError, KeyError, RuntimeError, ValueError, pickle.UnpicklingError) as error:
            raise ValueError(
                f"{path} must be a whole checkpoint of tensors and plain values; it could not be "
                f"read ({_reason(error)}). Nothing else is ever unpickled, since that can run code."
            ) from error
        if not isinstance(loaded, dict):
            raise ValueError(
                f"{path} must be a checkpoint; it holds a {type(loaded).__qualname__}."
            )
        return loaded

    @override
    def remove_checkpoint(self, path: str | Path) -> None:
        """Deletes the file if it is there."""
        Path(path).unlink(missing_ok=True)


def plain(value: Any) -> Any:
    """The same, with Python's numbers in place of NumPy's."""
    return _changed(value, lambda leaf: leaf.item() if isinstance(leaf, np.generic) else leaf)


def _strange(value: Any, name: str) -> str | None:
    """What of a value cannot be read back, or None."""
    if _readable(value):
        return None
    parts: list[tuple[Any, str]] = []
    if isinstance(value, dict):
        parts = [(key, f"a key of {name}") for key in value]
        parts += [(part, f"{name}[{key!r}]") for key, part in value.items()]
    elif type(value) in (list, tuple):
        parts = [(part, f"{name}[{place}]") for place, part in enumerate(value)]
    found = (strange for part, where in parts if (strange := _strange(part, where)))
    return next(found, f"a {type(value).__qualname__} at {name}")


def _readable(value: Any) -> bool:
    """Whether torch would read it without unpickling objects, as it does plain tensors."""
    file = io.BytesIO()
    try:
        torch.save(_changed(value, lambda leaf: None if _is_plain_tensor(leaf) else leaf), file)
        file.seek(0)
        torch.load(file, weights_only=True)
    except Exception:  # whatever an object raises when it is pickled
        return False
    return True


def _is_plain_tensor(value: Any) -> bool:
    return type(value) in (Tensor, Parameter) and not value.__dict__


def _changed(value: Any, change: Callable[[Any], Any]) -> Any:
    """The same containers with changed leaves, and what torch hangs on the dict of a state."""
    if type(value) in (dict, OrderedDict, Counter):
        same = copy(value)
        same.clear()
        for key, part in value.items():
            same[change(key)] = _changed(part, change)
        return same
    if type(value) in (list, tuple, set):
        return type(value)(_changed(part, change) for part in value)
    return change(value)


def _reason(error: BaseException) -> str:
    """The kind of error, and what torch names that it does not read."""
    named = re.search(r"Unsupported [^\n]*?(?= was not|$)", str(error), re.MULTILINE)
    return type(error).__name__ + (f": {named[0]}" if named else "")
