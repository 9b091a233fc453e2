"""What the training loss is made of, epoch by epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from sgfd.plots._style import COLORS, LINES, MARKERS, new_axes, viz_extra

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_terms(epochs: Sequence[Mapping[str, float]], *, ax: Axes | None = None) -> Axes:
    """The terms of the training loss by epoch, to see which of them learn, and which one rules.

    The terms are drawn as they are, before their weights; only ``total`` has the weights in it. Of
    each, the legend has the first and the last value; it is in the order of the last ones. The
    vertical axis is logarithmic where no value is 0 or below.

    Args:
        epochs: the means of an epoch's terms by name, from epoch 1, the same names in each:
            ``[epoch.terms for epoch in fit(...).history]``, or what a loop of your own collects. A
            term that is 0 throughout (``fusion`` with one modality) is named and not drawn.
        ax: where to draw; None makes a figure.

    Raises:
        ImportError: without matplotlib.
        ValueError: without epochs, if names differ between epochs, or values are not finite.

    Example:
        >>> from sgfd.plots import plot_terms
        >>> ax = plot_terms([{"total": 0.9, "feature": 0.5}, {"total": 0.7, "feature": 0.1}])
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['total: 0.9 to 0.7', 'feature: 0.5 to 0.1']
    """
    if not isinstance(epochs, Sequence) or not all(isinstance(e, Mapping) for e in epochs):
        raise TypeError(
            "epochs must be a sequence of {term: value}, [epoch.terms for epoch in history] say; "
            f"got {type(epochs).__qualname__}."
        )
    if not epochs or not epochs[0]:
        raise ValueError("epochs must hold the terms of at least one epoch.")
    names = list(epochs[0])
    for number, terms in enumerate(epochs, start=1):
        if terms.keys() != epochs[0].keys():
            raise ValueError(
                f"every epoch must have the terms {names} of the first; epoch {number} has "
                f"{list(terms)}."
            )
    values = np.array([[float(terms[name]) for name in names] for terms in epochs]).T
    if not np.isfinite(values).all():
        broken = names[int(np.argmin(np.isfinite(values).all(axis=1)))]
        raise ValueError(f"terms must be finite; {broken!r} is not in every epoch.")
    with viz_extra():
        from matplotlib.ticker import MaxNLocator

    ax = ax or new_axes(8.0, 4.4)
    numbers = np.arange(1, len(epochs) + 1)
    stride = max(1, len(epochs) // 8)
    for i in np.argsort(-values[:, -1], kind="stable"):
        row = values[i]
        if not row.any():
            ax.plot([], [], " ", label=f"{names[i]}: 0 throughout")
            continue
        total = names[i] == "total"
        ax.plot(
            numbers,
            row,
            color="black" if total else COLORS[i % (len(COLORS) - 1)],
            linestyle="-" if total else LINES[i % len(LINES)],
            linewidth=2.5 if total else 1.5,
            marker="" if total else MARKERS[i % len(MARKERS)],
            markersize=5,
            # Not all at the same epochs: where lines meet, markers still tell them apart.
            markevery=(int(i) % stride, stride),
            label=f"{names[i]}: {row[0]:.3g} to {row[-1]:.3g}",
        )
    drawn = values[values.any(axis=1)]
    if drawn.size and (drawn > 0).all():
        ax.set_yscale("log")
    ax.set(xlabel="epoch", ylabel="mean over the epoch (terms before weights)")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.grid(alpha=0.3)
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax
