"""Maps of item features in two dimensions, colored by label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sgfd._checks import check_activations, check_integer
from sgfd.plots._agreement import chance_agreement, neighbor_agreement
from sgfd.plots._checks import check_label_names, checked_items, class_name
from sgfd.plots._style import COLORS, MARKERS, new_axes, viz_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Embed = Callable[[npt.NDArray[np.float32]], npt.NDArray[np.floating[Any]]]


def plot_features(
    features: Tensor | npt.ArrayLike,
    labels: Tensor | npt.ArrayLike,
    *,
    label_names: Sequence[str] | None = None,
    title: str = "",
    embed: Embed | None = None,
    neighbors: int = 10,
    max_classes: int = 12,
    max_points: int = 5000,
    seed: int = 0,
    legend: bool = True,
    ax: Axes | None = None,
) -> Axes:
    """A map of the items, colored by label.

    A map in two dimensions flatters and hides. The title therefore carries ``neighbor_agreement``
    of the drawn items in the original space beside its value by chance, if more than
    ``neighbors`` of them are labeled.

    Args:
        features: (N, D) real, one row per item.
        labels: (N,) integers, negative where unknown (drawn in light gray).
        label_names: name by label; None shows the numbers.
        title: first line of the title.
        embed: (n, D) float32 to (n, 2); None is scikit-learn's t-SNE, seeded, with perplexity 30,
            or (n - 1) / 3 for few items. For PCA, which is linear and quick:
            ``lambda x: PCA(2).fit_transform(x)``.
        neighbors: for the number in the title.
        max_classes: so many of the largest classes are named; the rest are "other".
        max_points: if there are more items, a sample without replacement is drawn, and said so.
        seed: of the sample and of t-SNE.
        legend: whether to put one to the right of the map.
        ax: where to draw; None makes a figure.

    Raises:
        ImportError: without matplotlib or scikit-learn.
        ValueError: if shapes disagree, features are not finite, a label has no name, a number is
            out of range, or ``embed`` does not return (n, 2).

    Example:
        >>> import numpy as np
        >>> from sgfd.plots import plot_features
        >>> features = np.random.default_rng(0).normal(size=(30, 4))
        >>> ax = plot_features(features, np.arange(30) % 3, embed=lambda x: x[:, :2])
        >>> ax.get_title()
        '10-NN label agreement 0.33 (chance 0.31)'
    """
    points, known = checked_items(features, labels)
    check_label_names(int(known.max(initial=-1)), label_names)
    check_integer("max_classes", max_classes, at_least=1)
    check_integer("max_points", max_points, at_least=1)
    check_integer("neighbors", neighbors, at_least=1)
    check_integer("seed", seed, at_least=0)
    check_activations(embed=embed)
    ax = ax or new_axes(8.0, 4.6)
    rng = np.random.default_rng(seed)
    total = len(points)
    if total > max_points:
        drawn = np.sort(rng.choice(total, max_points, replace=False))
        points, known = points[drawn], known[drawn]
        ax.set_xlabel(f"{max_points} of {total} items, drawn at random")
    flat = _tsne(points, seed) if embed is None else np.asarray(embed(points))
    if flat.shape != (len(points), 2) or not np.isfinite(flat).all():
        raise ValueError(f"embed must return finite ({len(points)}, 2); got {flat.shape}.")
    for group in _groups(known, label_names, max_classes):
        x, y = flat[group.members].T
        ax.scatter(
            x,
            y,
            s=24 if group.marker == "." else 14,
            color=group.color,
            marker=group.marker,
            linewidths=0,
            alpha=0.8,
            label=group.name,
        )
    ax.set(xticks=[], yticks=[], box_aspect=1, anchor="W")
    ax.set_title("\n".join(filter(None, [title, _agreement_line(points, known, neighbors)])))
    if legend:
        ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), markerscale=1.6, frameon=False)
    return ax


def plot_feature_maps(
    before: Tensor | npt.ArrayLike,
    after: Tensor | npt.ArrayLike,
    labels: Tensor | npt.ArrayLike,
    *,
    label_names: Sequence[str] | None = None,
    titles: tuple[str, str] = ("before", "after"),
    embed: Embed | None = None,
    max_classes: int = 12,
    max_points: int = 5000,
    seed: int = 0,
) -> Figure:
    """Two maps of the same items side by side, with one legend.

    Args:
        before: (N, D1) real, e.g. the raw features or a plain model's.
        after: (N, D2) real, e.g. the distilled features of one modality.
        labels: (N,) integers, negative where unknown.
        label_names: as in ``plot_features``, like the remaining arguments.
        titles: of the two maps.
        embed: as in ``plot_features``; applied to each on its own.
        max_classes: as in ``plot_features``.
        max_points: as in ``plot_features``; the same items are drawn in both.
        seed: as in ``plot_features``.

    Raises:
        ImportError: without matplotlib or scikit-learn.
        ValueError: as ``plot_features``.

    Example:
        >>> import numpy as np
        >>> from sgfd.plots import plot_feature_maps
        >>> features = np.random.default_rng(0).normal(size=(30, 4))
        >>> flat = lambda x: x[:, :2]
        >>> figure = plot_feature_maps(features, -features, np.arange(30) % 3, embed=flat)
        >>> [ax.get_title().splitlines()[0] for ax in figure.axes]
        ['before', 'after']
    """
    with viz_extra():
        import matplotlib.pyplot as plt

    if not isinstance(titles, (tuple, list)) or len(titles) != 2:
        raise TypeError(f"titles must be two strings; got {titles!r}.")
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    for ax, features, title in zip(axes, (before, after), titles, strict=True):
        plot_features(
            features,
            labels,
            label_names=label_names,
            title=title,
            embed=embed,
            max_classes=max_classes,
            max_points=max_points,
            seed=seed,
            legend=ax is axes[1],
            ax=ax,
        )
    return figure


class _Group(NamedTuple):
    name: str
    members: npt.NDArray[np.bool_]
    color: str
    marker: str


def _groups(
    labels: npt.NDArray[np.int64], label_names: Sequence[str] | None, max_classes: int
) -> Iterator[_Group]:
    """What to draw, from the back to the front: unknown, other, then classes by size."""
    classes, counts = np.unique(labels[labels >= 0], return_counts=True)
    by_size = classes[np.argsort(-counts, kind="stable")]
    named = by_size[:max_classes]
    unknown, other = labels < 0, (labels >= 0) & ~np.isin(labels, named)
    if unknown.any():
        yield _Group(f"unknown ({unknown.sum()})", unknown, "0.8", ".")
    if other.any():
        name = f"{len(by_size) - len(named)} other ({other.sum()})"
        yield _Group(name, other, "0.55", ".")
    for i, label in enumerate(named):
        members = labels == label
        color, marker = COLORS[i % len(COLORS)], MARKERS[i % len(MARKERS)]
        name = f"{class_name(label, label_names)} ({members.sum()})"
        yield _Group(name, members, color, marker)


def _tsne(points: npt.NDArray[np.float32], seed: int) -> npt.NDArray[np.float32]:
    with viz_extra():
        from sklearn.manifold import TSNE

    if len(points) < 5:
        raise ValueError(f"t-SNE needs at least 5 items; got {len(points)}. Pass embed=.")
    perplexity = min(30.0, (len(points) - 1) / 3)
    flat = TSNE(perplexity=perplexity, random_state=seed).fit_transform(points)
    return np.asarray(flat, dtype=np.float32)


def _agreement_line(
    points: npt.NDArray[np.float32], labels: npt.NDArray[np.int64], neighbors: int
) -> str:
    if (labels >= 0).sum() <= neighbors:
        return ""
    agreement = neighbor_agreement(points, labels, neighbors=neighbors)
    return f"{neighbors}-NN label agreement {agreement:.2f} (chance {chance_agreement(labels):.2f})"
