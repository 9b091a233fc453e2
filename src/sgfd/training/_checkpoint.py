"""Checkpoints that are there whole or not at all."""

import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import CheckpointIO
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
        """Writes the checkpoint; an older one is lost only once the new one is complete."""
        path = Path(path)
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
                f"read ({type(error).__name__}). Nothing else is ever unpickled, since that can "
                "run code."
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
