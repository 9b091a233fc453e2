"""All modalities of an item in one row, weighed alike."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sgfd._checks import to_numpy
from sgfd._features import FeatureSource
from sgfd._tensor_checks import check_held

Floats: TypeAlias = npt.NDArray[np.float32]


class Beside(NamedTuple):
    """Modalities beside each other, on scales on which all weigh the same.

    Attributes:
        points: (N, sum of the widths) float32, NaN where an item lacks a modality.
        there: (N, modalities), whether it has it.
        widths: of the modalities, in their order in ``points``.
    """

    points: Floats
    there: npt.NDArray[np.bool_]
    widths: tuple[int, ...]

    @property
    def complete(self) -> Floats:
        """The items that have every modality."""
        return self.points[self.there.all(axis=1)]

    def nearest(self, centers: Floats) -> npt.NDArray[np.int64]:
        """(N,) the nearest center by the modalities that an item has, -1 where it has none.

        Args:
            centers: (k, sum of the widths).
        """
        from sklearn.metrics import pairwise_distances_argmin

        nearest = np.full(len(self.points), -1, dtype=np.int64)
        for pattern in np.unique(self.there, axis=0):
            if pattern.any():
                rows = (self.there == pattern).all(axis=1)
                columns = np.repeat(pattern, self.widths)
                nearest[rows] = pairwise_distances_argmin(
                    self.points[rows][:, columns], centers[:, columns]
                )
        return nearest


def beside(features: "Mapping[str, FeatureSource] | FeatureSource") -> Beside:
    """Put modalities beside each other, in the order of their names.

    Each is centered and divided by one number, so that the items that have every modality lie at
    mean squared distance 1 from their mean.

    Args:
        features: ``{modality: (N, F_m)}`` or one (N, F), floating; a row that is all NaN is
            missing.

    Raises:
        TypeError: if a modality is no tensor or array.
        ValueError: if shapes or dtypes are wrong, a row is NaN in part or infinite, or no item
            has every modality.
    """
    if isinstance(features, Mapping):
        # Sorted, since sums in another order round otherwise.
        named = {f"features[{m!r}]": features[m] for m in sorted(features, key=str)}
    else:
        named = {"features": features}
    if not named:
        raise ValueError("features must hold at least one modality, {name: (N, F)}; got none.")
    tables = {name: _values(source, name) for name, source in named.items()}
    rows = {name: len(values) for name, values in tables.items()}
    if len(set(rows.values())) > 1:
        raise ValueError(f"All features must have one row per item; got rows {rows}.")
    there = np.stack([_there(values, name) for name, values in tables.items()], axis=1)
    complete: npt.NDArray[np.bool_] = np.asarray(there.all(axis=1))
    if not complete.any():
        raise ValueError("At least one item must have every modality; none has.")
    return Beside(
        points=np.hstack([_scaled(values, complete) for values in tables.values()]),
        there=there,
        widths=tuple(values.shape[1] for values in tables.values()),
    )


def _there(values: npt.NDArray[np.floating], name: str) -> npt.NDArray[np.bool_]:
    there: npt.NDArray[np.bool_] = ~np.isnan(values).all(axis=1)
    if not there.any():
        raise ValueError(f"{name} must hold features; got NaN for every item. Leave it out.")
    with np.errstate(over="ignore"):
        bad = there & ~np.isfinite(values.astype(np.float32, copy=False)).all(axis=1)
    if bad.any():
        raise ValueError(
            f"{name} must be finite in float32, or NaN in the whole row of an item that lacks it; "
            f"{bad.sum():,} rows are neither, the first at position {bad.argmax()}."
        )
    return there


def _scaled(values: npt.NDArray[np.floating], complete: npt.NDArray[np.bool_]) -> Floats:
    """Centers ``values`` in place, and scales."""
    mean = values[complete].mean(axis=0, dtype=np.float64).astype(values.dtype)
    values -= mean
    squares = np.einsum("nf,nf->n", values, values, dtype=np.float64)
    spread = np.sqrt(squares[complete].mean())
    # What is off the mean by rounding alone (a filled-in mean, say) is at it, and says nothing.
    rounding = 16 * np.finfo(values.dtype).eps * (np.linalg.norm(mean.astype(float)) + spread)
    values[squares <= rounding**2] = 0
    scaled: Floats = (values / (spread if spread > rounding else 1.0)).astype(np.float32)
    return scaled


def _values(source: FeatureSource, name: str) -> npt.NDArray[np.floating]:
    """A copy, in float32, or as it is where finer: centering comes before rounding."""
    if not isinstance(source, (Tensor, np.ndarray)):
        raise TypeError(f"{name} must be a tensor or an array; got {type(source).__qualname__}.")
    check_held(name, source)
    got = f"got shape {tuple(source.shape)} of {source.dtype}."
    if isinstance(source, Tensor):
        source = to_numpy(source)
    if source.ndim != 2 or 0 in source.shape or source.dtype.kind != "f":
        raise ValueError(f"{name} must be (N, F) of a floating dtype, neither of them 0; {got}")
    return np.array(source, dtype=np.promote_types(source.dtype, np.float32))
