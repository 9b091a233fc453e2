"""Labels as one more modality of the items."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from sgfd._targets import ItemLabels, count_classes, read_labels


def label_features(
    labels: "ItemLabels | Mapping[str, ItemLabels]",
    *,
    num_classes: int | Mapping[str, int] | None = None,
) -> npt.NDArray[np.float32]:
    """Labels as features of the items, to be read beside the others: a column of 0 and 1 per class.

    The other use of labels than teaching them, and the one to compare ``distill`` with. In
    docs/study.md a plain VBPR with the label as one more modality is 5 to 7 % above one without
    (NDCG@20 on Amazon Office and Toys), of which 3 to 5 % are more than labels in random order
    give; with ``paper_student`` it adds nothing, and in GRCN on Office and BM3 on Toys and
    MovieLens-1M it costs.

    Args:
        labels: as ``distill`` takes them: (N,) class indices, -1 where unknown, or strings;
            multi-hot (N, C); or, for a hierarchy, ``{level: (N,) labels}``.
        num_classes: None for what the labels have; of a hierarchy per level.

    Returns:
        (N, C) float32, the levels of a hierarchy beside each other. A row of NaN (the item lacks
        the modality) where nothing is known of it, 0 where one level of several is not.

    Raises:
        ValueError: if labels are of another kind, none is known, or ``num_classes`` is not what
            they fit.

    Example:
        >>> from sgfd import label_features
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> label_features(["toys", None, "games"])
        array([[ 0.,  1.],
               [nan, nan],
               [ 1.,  0.]], dtype=float32)
        >>> data = synthetic_catalog()
        >>> features = {**data.features, "label": label_features(data.labels)}
        >>> list(VBPR(data.train, features).projections)
        ['image', 'text', 'label']
    """
    targets = read_labels(labels)
    sizes = count_classes(targets, num_classes, taught=None)
    y = targets.labels.cpu().numpy()
    known = (y >= 0).reshape(len(y), -1).any(axis=1)
    if not known.any():
        raise ValueError(f"At least one label must be known to be a feature; got {len(y)} unknown.")
    features = np.zeros((len(y), sum(sizes)), dtype=np.float32)
    if y.ndim == 2 and not targets.levels:
        features[:] = y.clip(min=0)
    else:
        for level, first in zip(y.reshape(len(y), -1).T, np.cumsum((0, *sizes)), strict=False):
            items = np.flatnonzero(level >= 0)
            features[items, first + level[items]] = 1
    features[~known] = np.nan
    return features
