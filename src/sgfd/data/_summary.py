"""A dataset in words."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from sgfd.data._dataset import Dataset


def count_notes(
    train: csr_array,
    valid: csr_array,
    test: csr_array,
    features: Mapping[str, npt.NDArray[np.float32]],
    labels: npt.NDArray[np.int64] | None,
    num_classes: int,
) -> list[str]:
    """Counts what a reader of results should know, of a dataset's fields."""
    return [
        *_coverage_notes(train, valid, test),
        *_feature_notes(features),
        *_label_notes(labels, num_classes),
    ]


def _coverage_notes(train: csr_array, valid: csr_array, test: csr_array) -> list[str]:
    """Counts who is left out of evaluation, and what nothing can be learned about."""
    num_users, num_items = train.shape
    notes = []
    for name, part in (("valid", valid), ("test", test)):
        without = num_users - int((np.diff(part.indptr) > 0).sum())
        if without:
            notes.append(
                f"{name}: {without:,} of {num_users:,} users have no {name} item and are left out "
                "of its evaluation"
            )
    users = num_users - int((np.diff(train.indptr) > 0).sum())
    items = num_items - np.unique(train.indices).size
    if users or items:
        notes.append(f"train: {users:,} users and {items:,} items occur in no training pair")
    return notes


def _feature_notes(features: Mapping[str, npt.NDArray[np.float32]]) -> list[str]:
    """Counts the items that lack a modality."""
    return [
        f"features: {missing.sum():,} of {missing.size:,} items lack {name}"
        for name, array in features.items()
        if (missing := _missing(array)).any()
    ]


def _label_notes(labels: npt.NDArray[np.int64] | None, num_classes: int) -> list[str]:
    """Counts items without a label and classes without an item."""
    if labels is None:
        return []
    notes = []
    known = _known(labels)
    if unknown := known.size - int(known.sum()):
        notes.append(f"labels: {unknown:,} of {known.size:,} items have none")
    if labels.ndim == 2 and (none := int((labels == 0).all(axis=1).sum())):
        notes.append(
            f"labels: {none:,} of {known.size:,} items have a row of 0, which teaches that they "
            "are of no class; unknown is a row of -1 (or none, in a data frame)"
        )
    if empty := num_classes - np.count_nonzero(_class_counts(labels, num_classes)):
        notes.append(f"labels: {empty:,} of {num_classes:,} classes have no item")
    return notes


def _missing(array: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    return np.isnan(array[:, 0])  # a row is NaN throughout or nowhere


def _known(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Which items have a label, or of multi-hot labels one that is not unknown."""
    return labels >= 0 if labels.ndim == 1 else np.asarray((labels >= 0).any(axis=1))


def _class_counts(labels: npt.NDArray[np.int64], num_classes: int) -> npt.NDArray[np.int64]:
    if labels.ndim == 2:
        return np.asarray((labels > 0).sum(axis=0))
    return np.bincount(labels[labels >= 0], minlength=num_classes)


def describe(dataset: "Dataset") -> str:
    """A dataset as one line."""
    facts = [repr(dataset.name)] if dataset.name else []
    facts += [f"{dataset.num_users:,} users", f"{dataset.num_items:,} items"]
    facts.append(f"{dataset.train.nnz:,} + {dataset.valid.nnz:,} + {dataset.test.nnz:,} pairs")
    facts += [f"{name} {width}" for name, width in dataset.widths.items()]
    facts.append(f"{dataset.num_classes:,} classes" if dataset.num_classes else "no labels")
    return f"Dataset({', '.join(facts)})"


def summarize(dataset: "Dataset") -> str:
    """A dataset as a few lines of text."""
    num_users, num_items = dataset.train.shape
    lines = [f"{dataset.name or 'dataset'}: {num_users:,} users, {num_items:,} items"]
    for name in ("train", "valid", "test"):
        part: csr_array = getattr(dataset, name)
        users = int((np.diff(part.indptr) > 0).sum())
        lines.append(
            f"  {name:<9}{part.nnz:>10,} pairs of {users:,} users, "
            f"density {part.nnz / (num_users * num_items):.3%}"
        )
    widths = [
        f"{name} {array.shape[1]}"
        + (f" ({missing.mean():.1%} missing)" if (missing := _missing(array)).any() else "")
        for name, array in dataset.features.items()
    ]
    lines.append(f"  features  {', '.join(widths)}")
    lines.append(f"  labels    {_labels(dataset)}")
    lines += [f"  - {note}" for note in dataset.notes]
    return "\n".join(lines)


def _labels(dataset: "Dataset") -> str:
    labels = dataset.labels
    if labels is None:
        return "none"
    known = _known(labels)
    text = f"{dataset.num_classes:,} classes, "
    if labels.ndim == 2:
        text += f"{(labels[known] > 0).sum(axis=1).mean():.1f} per item, " if known.any() else ""
    text += f"{1 - known.mean():.1%} of items unlabeled"
    if known.any():
        counts = _class_counts(labels, dataset.num_classes)
        largest = int(counts.argmax())
        share = counts[largest] / known.sum()
        text += f", the largest {dataset.label_names[largest]!r} ({share:.1%})"
    return text
