"""Who an item's neighbors are, before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sgfd._checks import check_integer
from sgfd.plots._checks import check_label_names, checked_items, class_name, cut
from sgfd.plots._style import COLORS, new_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_KINDS = {  # marker and color by whether the label is the item's
    "the same label": ("o", COLORS[0], COLORS[0]),
    "another label": ("s", "white", COLORS[3]),
    "unknown": ("x", "0.5", "0.5"),
}


def plot_neighbors(
    before: Tensor | npt.ArrayLike,
    after: Tensor | npt.ArrayLike,
    labels: Tensor | npt.ArrayLike,
    item: int,
    *,
    neighbors: int = 8,
    label_names: Sequence[str] | None = None,
    item_names: Sequence[object] | None = None,
    titles: tuple[str, str] = ("before", "after"),
    ax: Axes | None = None,
) -> Axes:
    """An item's nearest neighbors by cosine in two feature spaces, as two lists.

    Nearest on top, with the cosine; a line joins an item that is in both lists. One item proves
    nothing: ``neighbor_agreement`` is the number over all of them.

    Args:
        before: (N, D1) real, e.g. the raw features or a plain model's.
        after: (N, D2) real, e.g. the distilled features of the same modality.
        labels: (N,) integers, negative where unknown.
        item: which item, 0 to N - 1.
        neighbors: how many of the others, at most N - 1. Of equal ones the first are taken.
        label_names: name by label; None shows the numbers.
        item_names: the N items' names, such as ``dataset.item_ids``; None shows their indices.
        titles: of the two lists.
        ax: where to draw; None makes a figure.

    Raises:
        ImportError: without matplotlib.
        ValueError: if shapes disagree, features are not finite, the item's are all zero, names
            are missing, or a number is out of range.

    Example:
        >>> from sgfd.plots import plot_neighbors
        >>> before, after = [[1, 0], [1, 1], [1, -2]], [[1, 0], [0, 1], [1, 1]]
        >>> ax = plot_neighbors(before, after, [0, 1, 0], 0, neighbors=1, item_names="abc")
        >>> [text.get_text() for text in ax.texts[:2]]
        ['before: 0 of 1 share its label', 'b (1)  0.71']
    """
    sides = [
        checked_items(features, labels, name=name)
        for name, features in (("before", before), ("after", after))
    ]
    known = sides[0][1]
    total = len(known)
    check_label_names(int(known.max(initial=-1)), label_names)
    check_integer("item", item, at_least=0)
    check_integer("neighbors", neighbors, at_least=1)
    if item >= total or neighbors >= total:
        raise ValueError(
            f"item must be in 0..{total - 1} and neighbors in 1..{total - 1}; got {item} and "
            f"{neighbors}."
        )
    if item_names is not None and len(item_names) != total:
        raise ValueError(f"item_names must name every item ({total}); got {len(item_names)}.")

    def name(index: int, length: int) -> str:
        text = str(index if item_names is None else item_names[index])
        label = class_name(known[index], label_names, 20)
        return f"{cut(text, length - len(label))} ({label})"

    ax = ax or new_axes(10.0, 1.3 + 0.33 * neighbors)
    places: list[dict[int, int]] = []
    drawn: set[str] = set()
    for (features, _), title, edge, way in zip(sides, titles, (0.44, 0.56), (-1, 1), strict=True):
        nearest, cosines = _nearest(features, item, neighbors)
        kinds = [_kind(known[index], known[item]) for index in nearest]
        if known[item] >= 0:
            title += f": {kinds.count('the same label')} of {neighbors} share its label"
        align = "right" if way < 0 else "left"
        ax.text(edge, -1.1, title, ha=align, va="center", weight="bold")
        for row, (index, cosine, kind) in enumerate(zip(nearest, cosines, kinds, strict=True)):
            marker, face, color = _KINDS[kind]
            ax.plot(edge, row, marker, color=face, markeredgecolor=color, ms=7, mew=1.5, zorder=2)
            parts = [name(index, 50), f"{cosine:.2f}"]
            ax.text(edge + 0.02 * way, row, "  ".join(parts[::-way]), ha=align, va="center", size=9)
        drawn.update(kinds)
        places.append({int(index): row for row, index in enumerate(nearest)})
    for index in places[0].keys() & places[1].keys():
        ax.plot((0.44, 0.56), (places[0][index], places[1][index]), color="0.6", lw=1, zorder=1)
    for kind in (kind for kind in _KINDS if kind in drawn):
        marker, face, color = _KINDS[kind]
        ax.plot([], [], marker, color=face, markeredgecolor=color, mew=1.5, label=kind)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, 0.02), ncols=3, frameon=False)
    ax.set(xlim=(0, 1), ylim=(neighbors - 0.4, -1.7))
    ax.set_title(f"nearest to {name(item, 80)}")
    ax.set_axis_off()
    return ax


def _kind(label: int, own: int) -> str:
    if label < 0 or own < 0:
        return "unknown"
    return "the same label" if label == own else "another label"


def _nearest(
    features: npt.NDArray[np.float32], item: int, neighbors: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The nearest others by cosine, and the cosines; rows of zeros have none and come last."""
    rows = features.astype(np.float64)
    lengths = np.linalg.norm(rows, axis=1)
    if lengths[item] == 0:
        raise ValueError(f"item {item} has features of zeros, which point nowhere.")
    cosines = rows @ rows[item] / (np.where(lengths, lengths, np.inf) * lengths[item])
    order = np.argsort(-cosines, kind="stable")
    order = order[order != item][:neighbors]
    return order, cosines[order]
