"""What ``fit`` refuses before it starts."""

import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from lightning import Callback
from torch import nn

from sgfd._checks import check_integer
from sgfd.data import Dataset
from sgfd.evaluation import ranking_metrics
from sgfd.evaluation._metrics import check_ks


def check_settings(
    *,
    max_epochs: int,
    patience: int | None,
    checkpoint_every: int | None,
    monitor: str,
    ks: Sequence[int],
    seed: int,
    callbacks: Sequence[Callback],
) -> None:
    """Refuses settings out of range.

    Raises:
        TypeError: for what are no callbacks, or cut-offs that are no integers.
        ValueError: with the argument, its range and what was given.
    """
    check_integer("max_epochs", max_epochs, at_least=1)
    for name, value in {"patience": patience, "checkpoint_every": checkpoint_every}.items():
        if value is not None:
            check_integer(name, value, at_least=1)
    check_integer("seed", seed, at_least=0, below=2**32)  # NumPy's range
    if not isinstance(callbacks, Sequence) or not all(isinstance(c, Callback) for c in callbacks):
        raise TypeError(f"callbacks must be a sequence of Lightning's Callback; got {callbacks!r}.")
    check_ks(ks, sys.maxsize, "items, at most")
    known = list(ranking_metrics(np.zeros((1, max(ks)), dtype=bool), [1], ks))
    if monitor not in known:
        raise ValueError(
            f"monitor must be one of {known} (a metric at one of ks); got {monitor!r}."
        )


def check_model(model: nn.Module, dataset: Dataset, *, ks: Sequence[int]) -> None:
    """Refuses a model that cannot be trained or ranked here, and one of another dataset.

    Raises:
        TypeError: if it has no ``scores`` method, or the dataset is none.
        ValueError: if it is frozen or was built for other sizes, or the dataset cannot be
            validated on.
    """
    if not isinstance(model, nn.Module) or not callable(getattr(model, "scores", None)):
        raise TypeError(
            "fit needs a model with scores(users) -> (B, num_items), such as those in "
            f"sgfd.backbones; {type(model).__qualname__} has none. Give it that method, or train "
            "it in your own loop."
        )
    if not isinstance(dataset, Dataset):
        raise TypeError(f"dataset must be a Dataset; got {type(dataset).__qualname__}.")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("model must have parameters to train; all are frozen.")
    for name in ("num_users", "num_items"):
        size, there = getattr(model, name, None), getattr(dataset, name)
        if size is not None and size != there:
            raise ValueError(f"model and dataset must agree in {name}; got {size} and {there}.")
    if max(ks) > dataset.num_items:
        raise ValueError(
            f"ks must be at most the number of items ({dataset.num_items}); got {tuple(ks)}."
        )
    if dataset.valid.nnz == 0:
        raise ValueError(
            "dataset.valid must hold pairs, to choose the best epoch on; it is empty. Load the "
            "dataset with a valid_fraction above 0; of a user's n training pairs it takes "
            "floor(valid_fraction * n + 1/2), which is none where all have few."
        )


def checkpoint_to_resume(folder: Path | None, *, resume: bool) -> Path | None:
    """Finds where to go on, and refuses to write over a run.

    Args:
        folder: of the run, None if it keeps no files.
        resume: whether to go on.

    Returns:
        The checkpoint to go on from, or None to start from the beginning.

    Raises:
        ValueError: if there can be no checkpoint.
        FileExistsError: if there is one that is not to be used.
        NotADirectoryError: if the folder is a file.
    """
    if folder is None:
        if resume:
            raise ValueError("resume=True needs the directory of the run; got directory=None.")
        return None
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"directory must be a folder; {folder} is a file: name another.")
    path = folder / "last.ckpt"
    if path.exists() and not resume:
        raise FileExistsError(
            f"{folder} has a run in it, which would be overwritten. Pass resume=True to go on with "
            "it, or another directory."
        )
    if resume and not path.exists():
        warnings.warn(
            f"resume=True, but there is no {path}: starting from the beginning.", stacklevel=3
        )
        return None
    return path if resume else None
