"""A picture of which classes a teacher can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from sgfd._checks import check_integer
from sgfd.plots._accuracy import ClassAccuracy
from sgfd.plots._checks import check_label_names, class_name
from sgfd.plots._style import COLORS, MARKERS, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_class_accuracy(
    found: ClassAccuracy,
    *,
    label_names: Sequence[str] | None = None,
    max_classes: int = 30,
    ax: Axes | None = None,
) -> Axes:
    """The share of right answers for each class, the largest class on top, with its items.

    Args:
        found: of ``class_accuracy``. Classes without an item have no row.
        label_names: name by label; None shows the numbers.
        max_classes: so many of the largest classes are drawn; if there are more, it is said so.
        ax: where to draw; None makes a figure.

    Raises:
        ImportError: without matplotlib.
        ValueError: if no class has an item, a label has no name, or ``max_classes`` is below 1.

    Example:
        >>> import numpy as np
        >>> from sgfd.plots import ClassAccuracy, plot_class_accuracy
        >>> found = ClassAccuracy({"text": np.array([3, 9])}, {"text": np.array([4, 10])})
        >>> ax = plot_class_accuracy(found, label_names=["tea", "cup"])
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['cup (10)', 'tea (4)']
    """
    if not isinstance(found, ClassAccuracy):
        raise TypeError(
            f"found must be what class_accuracy() gives; got {type(found).__qualname__}."
        )
    check_integer("max_classes", max_classes, at_least=1)
    # Who lacks a modality is not asked about it: the class has the items that anyone was asked.
    sizes = np.max(list(found.counts.values()), axis=0)
    if not sizes.any():
        raise ValueError("At least one class must have an item; none has.")
    check_label_names(int(sizes.nonzero()[0].max()), label_names)
    by_size = np.argsort(-sizes, kind="stable")[: np.count_nonzero(sizes)]
    drawn = by_size[:max_classes]
    ax = ax or new_axes(8.0, 1.2 + 0.2 * len(found.counts) + 0.32 * len(drawn))
    rows, shares = np.arange(len(drawn)), found.shares()
    ax.hlines(rows, 0, 1, color="0.85", linewidth=1, zorder=0)
    for i, (name, values) in enumerate(shares.items()):
        fused = name == "fused"
        total = int(found.counts[name].sum())
        right = int(found.right[name].sum()) / total if total else np.nan
        ax.plot(
            values[drawn],
            # Beside each other where they agree.
            rows + 0.2 * (i - (len(shares) - 1) / 2),
            linestyle="",
            marker="|" if fused else MARKERS[i % len(MARKERS)],
            markersize=11 if fused else 6,
            markeredgewidth=3 if fused else 1,
            color="black" if fused else COLORS[i % (len(COLORS) - 1)],
            label=f"{name}: {right:.2f} of {total} items",
        )
    names = [f"{class_name(label, label_names)} ({sizes[label]})" for label in drawn]
    ax.set_yticks(rows, names)
    ax.set(xlim=(-0.02, 1.02), ylim=(len(rows) - 0.4, -0.6))
    left = len(by_size) - len(drawn)
    ax.set_xlabel(
        "share of the class's items that the teacher reads right"
        + (f"\n{left} smaller classes are not drawn" if left else "")
    )
    ax.grid(axis="x", alpha=0.3)
    ax.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), frameon=False)
    return ax
