"""Labels by clustering, for catalogs without categories."""

import warnings
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sgfd._beside import Floats, beside
from sgfd._checks import check_integer
from sgfd._features import FeatureSource


class PseudoLabels(NamedTuple):
    """Clusters as labels, and how far to trust them; ``print`` says it in a sentence.

    Attributes:
        labels: (N,) int64, what ``distill`` takes: 0 in the largest cluster, 1 in the next, ...;
            -1 for items without any features.
        sizes: items per cluster, descending.
        stability: the mean of ``agreements``; NaN if there are none.
        agreements: the adjusted Rand index of these labels and each repeat's.
    """

    labels: Tensor
    sizes: tuple[int, ...]
    stability: float
    agreements: tuple[float, ...]

    def __str__(self) -> str:
        labeled = sum(self.sizes)
        found = (
            f"{len(self.sizes)} clusters of {self.sizes[-1]:,} to {self.sizes[0]:,} items; "
            f"{labeled:,} items labeled, {len(self.labels) - labeled:,} unknown; stability "
        )
        if not self.agreements:
            return found + "not measured"
        return found + (
            f"{self.stability:.2f} (1: the same clusters from any sample of the items, 0: as by "
            f"chance; mean adjusted Rand index over {len(self.agreements)} samples)"
        )


def pseudo_labels(
    features: "Mapping[str, FeatureSource] | FeatureSource",
    k: int,
    *,
    batch_size: int | None = None,
    restarts: int = 3,
    repeats: int = 5,
    seed: int = 0,
    progress: bool = False,
) -> PseudoLabels:
    """Cluster items by their features with k-means, and use the clusters as semantic labels.

    Modalities are put beside each other. Each is first centered and divided by one number, so
    that its items lie at mean squared distance 1 from their mean: all modalities weigh the same,
    whatever their widths and units, and the columns of one keep their proportions. For clusters
    by direction (cosine) give rows of unit length; for columns that weigh alike, standardize
    them.

    An item lacks a modality where its row is all NaN. Scales and clusters are made by the items
    that lack none. Others go to the nearest center by the modalities that they have, and get -1
    if they have none. Nothing is filled in, so what is missing cannot become a cluster.

    How to read the stability: the clustering is repeated on bootstrap samples of the items, and
    every item is put into the clusters found there. 1 means the same clusters every time; 0, no
    more alike than random partitions, that they are cuts through a cloud, with arbitrary borders
    that teach nothing (a cut still puts alike items together). It serves to choose between
    values of ``k``. One cluster of nearly all items is stable too: look at ``sizes``. And it
    does not say whether the clusters matter to users; validation does.

    Args:
        features: ``{modality: (N, F_m)}``, in any order, or one (N, F); floating tensors, arrays
            or memory maps, read into memory as a whole. ``behavior_features(dataset.train)``
            makes some from interactions.
        k: clusters, 2 or more.
        batch_size: None for ``KMeans``, which reads all items in each step; a number for
            ``MiniBatchKMeans``, which reads so many. Worth it from some 100,000 items on (there
            9 times quicker, at 0.6 % more squared error); a cluster may then end up empty.
        restarts: starts, of which the best is taken, in each repeat too. On two catalogs, 3
            found the squared error of 10 to 0.1 %, and 1 only to 1.6 %.
        repeats: bootstrap samples, each as much work as the clustering itself; 0 for none.
        seed: the same seed gives the same labels, whatever ``repeats``.
        progress: show a progress bar.

    Raises:
        ImportError: without scikit-learn.
        TypeError: if features are no tensors or arrays.
        ValueError: if shapes, dtypes or numbers are out of range, a row is NaN in part or
            infinite, or fewer than ``k`` distinct items have every modality.

    Example:
        >>> import numpy as np
        >>> from sgfd import pseudo_labels
        >>> kinds = np.array([0, 1, 1, 2] * 10)
        >>> image = 9.0 * np.eye(3, 8)[kinds] + np.random.default_rng(0).normal(size=(40, 8))
        >>> image[0] = np.nan
        >>> made = pseudo_labels(image, 3)
        >>> made.labels[:4], made.sizes
        (tensor([-1,  0,  0,  1]), (20, 10, 9))
        >>> print(made)
        3 clusters of 9 to 20 items; 39 items labeled, 1 unknown; stability 1.00 (1: the same
        clusters from any sample of the items, 0: as by chance; mean adjusted Rand index over 5
        samples)
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.metrics import adjusted_rand_score
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ImportError('pseudo_labels needs scikit-learn: pip install "sgfd[labels]"') from error
    from tqdm import tqdm

    check_integer("k", k, at_least=2)
    check_integer("restarts", restarts, at_least=1)
    check_integer("repeats", repeats, at_least=0)
    check_integer("seed", seed, at_least=0)
    if batch_size is not None:
        check_integer("batch_size", batch_size, at_least=1)
    items = beside(features)
    complete = items.complete
    _check_distinct(complete, k)
    rng = np.random.default_rng(seed)
    agreements = []
    # Threads add up in the order in which they finish: labels at a border would vary.
    with threadpool_limits(1), tqdm(total=1 + repeats, disable=not progress) as bar:
        labels = items.nearest(_centers(complete, k, batch_size, restarts, rng))
        known = labels >= 0
        bar.update()
        for _ in range(repeats):
            sample = complete[rng.integers(len(complete), size=len(complete))]
            with warnings.catch_warnings():
                # A sample may hold fewer than k distinct items; the agreement shows it.
                warnings.simplefilter("ignore", ConvergenceWarning)
                again = items.nearest(_centers(sample, k, batch_size, restarts, rng))
            agreements.append(float(adjusted_rand_score(labels[known], again[known])))
            bar.update()
    sizes = np.bincount(labels[known], minlength=k)
    by_size = np.argsort(-sizes, kind="stable")
    labels[known] = np.argsort(by_size)[labels[known]]
    return PseudoLabels(
        labels=torch.from_numpy(labels),
        sizes=tuple(sizes[by_size].tolist()),
        stability=float(np.mean(agreements)) if agreements else float("nan"),
        agreements=tuple(agreements),
    )


def _centers(
    points: Floats, k: int, batch_size: int | None, restarts: int, rng: np.random.Generator
) -> Floats:
    from sklearn.cluster import KMeans, MiniBatchKMeans

    draw = int(rng.integers(2**31))
    model = (
        KMeans(k, n_init=restarts, random_state=draw)
        if batch_size is None
        else MiniBatchKMeans(k, n_init=restarts, random_state=draw, batch_size=batch_size)
    )
    centers: Floats = model.fit(points).cluster_centers_
    return centers


def _check_distinct(points: Floats, k: int) -> None:
    # The first items nearly always settle it, without sorting them all.
    if len(np.unique(points[: 10 * k], axis=0)) >= k:
        return
    distinct = len(np.unique(points, axis=0))
    if distinct < k:
        raise ValueError(
            "k must be at most the number of distinct items that have every modality "
            f"({distinct}); got {k}."
        )
