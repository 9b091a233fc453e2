"""What a control changes in a catalog before any model sees it."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from sgfd import behavior_features, label_features, pseudo_labels
from sgfd.data import Dataset

from .grid import CLUSTERS, with_labels


def same(data: Dataset, _: int) -> Dataset:
    return data


def features_shuffled(data: Dataset, seed: int) -> Dataset:
    """The rows of all modalities in one random order: an item gets another item's features."""
    order = _generator(seed).permutation(data.num_items)
    return replace(data, features={m: x[order] for m, x in data.features.items()})


def labels_shuffled(data: Dataset, seed: int) -> Dataset:
    """Known labels in random order among the items that have one: as many of each class."""
    labels = _labels(data).copy()
    known = labels >= 0
    labels[known] = _generator(seed).permutation(labels[known])
    return replace(data, labels=labels)


def standardized(data: Dataset, _: int) -> Dataset:
    """Columns of mean 0 and standard deviation 1; constant ones become 0."""

    def scaled(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        deviation = np.nanstd(x, axis=0)
        return (x - np.nanmean(x, axis=0)) / np.where(deviation > 0, deviation, 1)

    return replace(data, features={m: scaled(x) for m, x in data.features.items()})


def unit_rows(data: Dataset, _: int) -> Dataset:
    """Rows of length 1; rows of zeros stay."""

    def scaled(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        length = np.linalg.norm(x, axis=1, keepdims=True)
        return x / np.where(length == 0, 1, length)  # NaN stays NaN: missing

    return replace(data, features={m: scaled(x) for m, x in data.features.items()})


def label_as_modality(data: Dataset, _: int) -> Dataset:
    """One more modality: the label, one-hot; missing where it is unknown."""
    one_hot = label_features(_labels(data), num_classes=data.num_classes)
    return replace(data, features={**data.features, "label": one_hot})


def shuffled_label_as_modality(data: Dataset, seed: int) -> Dataset:
    """One more modality of the same size, that says nothing."""
    return label_as_modality(labels_shuffled(data, seed), seed)


def behavior_labels(data: Dataset, seed: int, count: int = CLUSTERS) -> Dataset:
    """Clusters of the items by who consumes them in the training part, in place of the labels."""
    dim = min(32, min(data.train.shape) // 2)
    made = pseudo_labels(
        behavior_features(data.train, dim),
        min(count, data.num_items // 8),
        repeats=0,
        seed=seed,
    )
    return with_labels(data, made.labels.numpy())


def behavior_as_modality(data: Dataset, seed: int) -> Dataset:
    """One more modality: the cluster by behavior, one-hot."""
    return label_as_modality(behavior_labels(data, seed), seed)


def _labels(data: Dataset) -> npt.NDArray[np.int64]:
    if data.labels is None or data.labels.ndim != 1:
        raise ValueError(f"the study needs one label per item; {data.name!r} has none such.")
    return data.labels


def _generator(seed: int) -> np.random.Generator:
    # Not the seed itself, which also draws the split and the parameters.
    return np.random.default_rng([seed, 20231029])
