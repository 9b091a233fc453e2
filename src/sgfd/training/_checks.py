"""What ``fit`` refuses before it starts."""

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import nn

from sgfd.data import Dataset
from sgfd.evaluation import ranking_metrics


def check_settings(
    *,
    max_epochs: int,
    patience: int | None,
    checkpoint_every: int | None,
    monitor: str,
    ks: Sequence[int],
    seed: int,
) -> None:
    """Refuses settings out of range.

    Raises:
        ValueError: with the argument, its range and what was given.
    """
    at_least_one = {
        "max_epochs": max_epochs,
        "patience": patience,
        "checkpoint_every": checkpoint_every,
    }
    for name, value in at_least_one.items():
        if value is not None and value < 1:
            raise ValueError(f"{name} must be at least 1; got {value}.")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in 0..2**32 - 1 (NumPy's range); got {seed}.")
    known = list(ranking_metrics(np.zeros((1, max(ks)), dtype=bool), [1], ks))
    if monitor not in known:
        raise ValueError(
            f"monitor must be one of {known} (a metric at one of ks); got {monitor!r}."
        )


def check_model(model: nn.Module, dataset: Dataset, *, ks: Sequence[int]) -> None:
    """Refuses a model that cannot be trained or ranked here, and one of another dataset.

    Raises:
        TypeError: if it has no ``scores`` method.
        ValueError: if it was built for other sizes, or the dataset cannot be validated on.
    """
    if not callable(getattr(model, "scores", None)):
        raise TypeError(
            "fit needs a model with scores(users) -> (B, num_items), such as those in "
            f"sgfd.backbones; {type(model).__qualname__} has none. Give it that method, or train "
            "it in your own loop."
        )
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
            "dataset with a valid_fraction above 0."
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
    """
    if folder is None:
        if resume:
            raise ValueError("resume=True needs the directory of the run; got directory=None.")
        return None
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
