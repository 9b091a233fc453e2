"""The plots of the study."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib as mpl
import numpy as np

from .effects import Cell
from .grid import MAIN_ARMS, Run
from .stats import Effect
from .store import Row

mpl.use("Agg")
import matplotlib.pyplot as plt


def gains(families: Mapping[str, Mapping[Cell, Effect]], path: Path) -> None:
    """Relative change of NDCG@20 per cell with its interval, a panel per comparison."""
    shown = {name: found for name, found in families.items() if found}
    height = 1.2 + 0.3 * max(map(len, shown.values()), default=1)
    figure, axes = plt.subplots(
        1,
        max(1, len(shown)),
        figsize=(3.2 * max(1, len(shown)), height),
        sharey=True,
        squeeze=False,
    )
    for axis, (name, found) in zip(axes[0], shown.items(), strict=False):
        cells = list(found)[::-1]
        at = range(len(cells))
        change = [100 * found[c].change for c in cells]
        low = [100 * (found[c].change - found[c].low) for c in cells]
        high = [100 * (found[c].high - found[c].change) for c in cells]
        axis.errorbar(
            change, at, xerr=np.nan_to_num([low, high]), fmt="o", color="#1b5e9b", capsize=3
        )
        axis.axvline(0, color="0.6", linewidth=1)
        axis.set_yticks(at, [" ".join(c) for c in cells])
        axis.set(title=name, xlabel="change of NDCG@20 in %", ylim=(-0.5, len(cells) - 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def curves(done: Mapping[Run, Row], cell: Cell, path: Path) -> None:
    """Validation NDCG@20 by epoch, first seed, an arm a line."""
    figure, axis = plt.subplots(figsize=(7, 3.6))
    for arm, row in _first(done, cell).items():
        if "curve" in row:
            axis.plot(range(1, len(row["curve"]) + 1), row["curve"], label=arm, linewidth=1.2)
    axis.set(xlabel="epoch", ylabel="validation NDCG@20", title=" ".join(cell))
    axis.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def distances(done: Mapping[Run, Row], cell: Cell, path: Path) -> None:
    """Student-teacher distance and label loss by epoch, first seed, an arm a line."""
    shown = {
        arm: row["terms_by_epoch"]
        for arm, row in _first(done, cell).items()
        if "feature" in row.get("terms_by_epoch", {})
    }
    if not shown:
        return
    figure, axes = plt.subplots(1, 3, figsize=(10, 3))
    for axis, term in zip(axes, ("feature", "response", "classification"), strict=True):
        for arm, terms in shown.items():
            axis.plot(range(1, len(terms[term]) + 1), terms[term], label=arm, linewidth=1.2)
        axis.set(xlabel="epoch", title=term)
    axes[0].set(ylabel=f"{' '.join(cell)}: term, unweighted")
    axes[-1].legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _first(done: Mapping[Run, Row], cell: Cell) -> dict[str, Row]:
    """The rows of a cell's first seed, by arm; the main ones, since more cannot be told apart."""
    first = min(run.seed for run in done)
    here = {run: row for run, row in done.items() if run[:2] == cell and run.seed == first}
    return {run.arm: row for run, row in here.items() if run.arm in MAIN_ARMS}
