"""A dataset in words."""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from sgfd.data._dataset import Dataset


def coverage_notes(train: csr_array, valid: csr_array, test: csr_array) -> list[str]:
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


def label_notes(labels: npt.NDArray[np.int64] | None, num_classes: int) -> list[str]:
    """Counts items without a label and classes without an item."""
    if labels is None:
        return []
    notes = []
    if unknown := int((labels < 0).sum()):
        notes.append(f"labels: {unknown:,} of {labels.size:,} items have none")
    if empty := num_classes - np.unique(labels[labels >= 0]).size:
        notes.append(f"labels: {empty:,} of {num_classes:,} classes have no item")
    return notes


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
    widths = ", ".join(f"{name} {width}" for name, width in dataset.widths.items())
    lines.append(f"  features  {widths}")
    if dataset.labels is None:
        lines.append("  labels    none")
    else:
        known = dataset.labels[dataset.labels >= 0]
        lines.append(
            f"  labels    {dataset.num_classes:,} classes, "
            f"{1 - known.size / num_items:.1%} of items unlabeled"
        )
        if known.size:
            counts = np.bincount(known)
            largest = int(counts.argmax())
            share = counts[largest] / known.size
            lines[-1] += f", the largest {dataset.label_names[largest]!r} ({share:.1%})"
    lines += [f"  - {note}" for note in dataset.notes]
    return "\n".join(lines)
