"""One number for what a feature map should show."""

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sgfd._checks import check_integer
from sgfd.plots._checks import checked_items
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
    check_integer("neighbors", neighbors, at_least=1)
    if neighbors >= len(points):
        raise ValueError(
            f"neighbors must be less than the labeled items; got {neighbors} for {len(points)}."
        )
    near = NearestNeighbors(n_neighbors=neighbors).fit(points).kneighbors(return_distance=False)
    return float((known[near] == known[:, None]).mean())


def chance_agreement(labels: npt.NDArray[np.int64]) -> float:
    """``neighbor_agreement`` if neighbors were drawn at random among the labeled items."""
    counts = np.unique(labels[labels >= 0], return_counts=True)[1]
    n = counts.sum()
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))
