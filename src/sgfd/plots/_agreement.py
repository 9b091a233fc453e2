"""One number for what a feature map should show."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sgfd.plots._style import viz_extra


def neighbor_agreement(
    features: Tensor | npt.ArrayLike, labels: Tensor | npt.ArrayLike, *, neighbors: int = 10
) -> float:
    """How many of an item's nearest neighbors share its label, on average.

    The share of equal labels among the ``neighbors`` nearest other labeled items in Euclidean
    distance, averaged over labeled items. Chance is the share for neighbors drawn at random.

    Args:
        features: (N, D) real.
        labels: (N,) integers, negative where unknown; such items are left out.
        neighbors: how many neighbors, fewer than the labeled items.

    Raises:
        ImportError: without scikit-learn.
        ValueError: if shapes disagree, features are not finite, or there are too few items.

    Example:
        >>> from sgfd.plots import neighbor_agreement
        >>> neighbor_agreement([[0.0], [0.1], [5.0], [5.1]], [0, 0, 1, 1], neighbors=1)
        1.0
    """
    with viz_extra():
        from sklearn.neighbors import NearestNeighbors
    points, known = checked_items(features, labels)
    points, known = points[known >= 0], known[known >= 0]
    if not 1 <= neighbors < len(points):
        raise ValueError(
            "neighbors must be at least 1 and less than the labeled items; "
            f"got {neighbors} for {len(points)} items."
        )
    near = NearestNeighbors(n_neighbors=neighbors).fit(points).kneighbors(return_distance=False)
    return float((known[near] == known[:, None]).mean())


def chance_agreement(labels: npt.NDArray[np.int64]) -> float:
    """``neighbor_agreement`` if neighbors were drawn at random among the labeled items."""
    counts = np.unique(labels[labels >= 0], return_counts=True)[1]
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


def checked_items(
    features: Tensor | npt.ArrayLike, labels: Tensor | npt.ArrayLike
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Features and labels as arrays with one row per item, or an error."""
    points, known = _array(features), _array(labels)
    if points.ndim != 2:
        raise ValueError(f"features must be (items, dimensions); got {points.shape}.")
    if known.shape != points.shape[:1]:
        raise ValueError(
            f"labels must have one entry per row of features, ({len(points)},); got {known.shape}."
        )
    if not np.issubdtype(known.dtype, np.integer):
        raise TypeError(f"labels must be integers, negative where unknown; got {known.dtype}.")
    real = points.astype(np.float32)
    if not np.isfinite(real).all():
        row = int(np.argmin(np.isfinite(real).all(axis=1)))
        raise ValueError(f"features must be finite numbers; row {row} holds NaN or infinity.")
    return real, known.astype(np.int64)


def _array(values: Tensor | npt.ArrayLike) -> npt.NDArray[np.generic]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
