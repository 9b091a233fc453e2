"""Colors, markers and the one place that needs the extra."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Okabe and Ito's palette without its yellow, which white paper swallows. Seven colors and twelve
# markers have no common factor: 84 classes differ in one or the other.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "*", "h")
LINES = ("-", "--", "-.", ":")


@contextmanager
def viz_extra() -> Iterator[None]:
    """Import matplotlib or scikit-learn inside: their absence then names the extra."""
    try:
        yield
    except ImportError as error:
        raise ImportError(
            'sgfd.plots needs matplotlib and scikit-learn: pip install "sgfd[viz]"'
        ) from error


def new_axes(width: float, height: float) -> Axes:
    """The Axes of a new figure, in inches, that makes room for a legend outside."""
    with viz_extra():
        import matplotlib.pyplot as plt

    return plt.subplots(figsize=(width, height), layout="constrained")[1]
