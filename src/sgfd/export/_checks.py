"""What can be written as item features."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgfd._features import FeatureSource


def checked_features(features: "Mapping[str, FeatureSource]") -> dict[str, Tensor]:
    """The features on the CPU, contiguous, of the dtypes they have.

    Raises:
        TypeError: if they are no mapping of tensors or arrays.
        ValueError: if there are none, or they are not (items, width), floating, finite and of as
            many rows each.
    """
    if not isinstance(features, Mapping):
        raise TypeError(
            "features must be {modality: (num_items, D)}, as model.export() gives them; got "
            f"{type(features).__qualname__}."
        )
    if not features:
        raise ValueError("features must hold at least one modality; got none.")
    checked = {m: _checked(f"features[{m!r}]", values) for m, values in features.items()}
    rows = {m: len(values) for m, values in checked.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"All modalities must have one row per item; got rows {rows}.")
    return checked


def refuse_existing(paths: "list[Path]", *, overwrite: bool) -> None:
    """Raises FileExistsError if a file is there and must not be lost."""
    if not overwrite and (there := [str(path) for path in paths if path.exists()]):
        raise FileExistsError(
            f"{', '.join(there)} exists: write to another folder, or pass overwrite=True."
        )


def _checked(name: str, values: "FeatureSource") -> Tensor:
    if not isinstance(values, (Tensor, np.ndarray)):
        raise TypeError(f"{name} must be a tensor or an array; got {type(values).__qualname__}.")
    if isinstance(values, np.ndarray):
        if values.dtype.kind != "f":
            raise ValueError(f"{name} must be floating; got {values.dtype}.")
        values = torch.from_numpy(np.array(values))  # a copy: it may be read-only
    if values.ndim != 2 or 0 in values.shape or not values.is_floating_point():
        raise ValueError(
            f"{name} must be (num_items, D), floating, neither of them 0; got shape "
            f"{tuple(values.shape)} of {values.dtype}."
        )
    values = values.detach().cpu().contiguous()
    if bad := int((~values.isfinite().all(dim=1)).sum()):
        raise ValueError(
            f"{name} must be finite; {bad:,} of {len(values):,} rows are not. A reader may not "
            "know what a row of NaN means: fill in, or leave such items out of its catalog."
        )
    return values
