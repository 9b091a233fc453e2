"""Curves of training runs, and the differences between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from sgfd._checks import as_array, check_activations
from sgfd.evaluation import Comparison
from sgfd.plots._style import COLORS, LINES, MARKERS, new_axes, viz_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_curves(
    curves: Mapping[str, Sequence[float]],
    *,
    metric: str = "validation ndcg@20",
    best: Callable[[npt.NDArray[np.float64]], np.intp] | None = np.nanargmax,
    ax: Axes | None = None,
) -> Axes:
    """A metric by epoch for several runs, with each run's best epoch marked.

    Args:
        curves: one value per epoch, from epoch 1, by name of the run.
        metric: label of the vertical axis.
        best: index of the epoch to mark; ``np.nanargmin`` for a loss, None for no mark.
        ax: where to draw; None makes a figure.

    Raises:
        ImportError: without matplotlib.
        ValueError: if there is no curve, or one without a finite value.

    Example:
        >>> from sgfd.plots import plot_curves
        >>> ax = plot_curves({"plain": [0.1, 0.2], "distilled": [0.1, 0.3, 0.2]})
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['plain: 0.2000 at epoch 2', 'distilled: 0.3000 at epoch 2']
    """
    if not isinstance(curves, Mapping):
        raise TypeError(f"curves must be {{name: values}}; got {type(curves).__qualname__}.")
    check_activations(best=best)
    if not curves:
        raise ValueError("curves must hold at least one run.")
    given = {name: as_array(f"curves[{name!r}]", values) for name, values in curves.items()}
    for name, values in given.items():
        number = values.dtype.kind in "biuf"
        if values.ndim != 1 or not number or not np.isfinite(values).any():
            raise ValueError(f"curves[{name!r}] must be numbers by epoch; got {curves[name]!r}.")
    from_name = {name: values.astype(np.float64) for name, values in given.items()}
    with viz_extra():
        from matplotlib.ticker import MaxNLocator

    ax = ax or new_axes(6.4, 4.4)
    for i, (name, values) in enumerate(from_name.items()):
        marked = [] if best is None else [int(best(values))]
        ax.plot(
            np.arange(1, len(values) + 1),
            values,
            color=COLORS[i % len(COLORS)],
            linestyle=LINES[i % len(LINES)],
            marker=MARKERS[i % len(MARKERS)],
            markevery=marked,
            markersize=9,
            label=name + "".join(f": {values[at]:.4f} at epoch {at + 1}" for at in marked),
        )
    ax.set(xlabel="epoch", ylabel=metric)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    ax.legend(loc="best")
    return ax


def plot_comparison(comparisons: Mapping[str, Comparison], *, ax: Axes | None = None) -> Axes:
    """Relative changes with their confidence intervals, one row each.

    An interval that does not touch the dashed line at zero is a difference between the two models
    that the choice of users does not explain. The p-value of the paired t-test stands beside it.

    Args:
        comparisons: results of ``sgfd.evaluation.compare``, by the name of their row (a metric,
            a dataset), drawn from top to bottom. Undefined changes and intervals are left blank.
        ax: where to draw; None makes a figure.

    Raises:
        ImportError: without matplotlib.
        ValueError: if there is no comparison.

    Example:
        >>> from sgfd.evaluation import Comparison
        >>> from sgfd.plots import plot_comparison
        >>> result = Comparison("ndcg@20", 0.050, 0.053, 0.06, 0.02, 0.10, 0.004, 0.01, 4512)
        >>> ax = plot_comparison({"office": result})
        >>> [text.get_text() for text in ax.get_yticklabels()]
        ['office']
    """
    if not isinstance(comparisons, Mapping) or not all(
        isinstance(result, Comparison) for result in comparisons.values()
    ):
        raise TypeError(
            "comparisons must be {name: Comparison}, which compare() gives; got "
            f"{type(comparisons).__qualname__}."
        )
    if not comparisons:
        raise ValueError("comparisons must hold at least one.")
    ax = ax or new_axes(7.5, 1.2 + 0.5 * len(comparisons))
    rows = np.arange(len(comparisons))
    for row, result in zip(rows, comparisons.values(), strict=True):
        change = 100 * result.relative_change
        # Better is filled, worse is hollow: the side must not hang on the color.
        ax.errorbar(
            change,
            row,
            xerr=[[change - 100 * result.low], [100 * result.high - change]],
            fmt="o",
            ms=8,
            capsize=4,
            color=COLORS[0] if change > 0 else COLORS[3],
            markerfacecolor=None if change > 0 else "white",
        )
        text = "undefined" if np.isnan(change) else f"{change:+.1f} %"
        ax.annotate(
            f"{text}, p = {result.t_pvalue:.2g}",
            (1.02, row),
            xycoords=("axes fraction", "data"),
            va="center",
        )
    ax.axvline(0, color="0.4", linestyle="--", linewidth=1)
    ax.set_yticks(rows, list(comparisons))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xlabel("relative change [%] with its confidence interval over users")
    ax.grid(axis="x", alpha=0.3)
    return ax
