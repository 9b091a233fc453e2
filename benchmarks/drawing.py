"""The ratios as a picture."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from sgfd.plots._style import COLORS

from .compare import Row
from .report import name_of

# Told apart by marker and lightness, not by hue alone.
PARTS = {
    "step, plain": ("o", COLORS[4]),
    "step, distilled": ("s", COLORS[0]),
    "ranking": ("^", COLORS[3]),
    "sampling": ("D", COLORS[6]),
}
TICKS = (0.5, 1, 2, 4, 6, 10, 20, 50, 100)


def part_of(row: Row) -> str:
    return f"step, {row.case.arm}" if row.case.part == "step" else row.case.part


def draw(rows: Sequence[Row], path: Path) -> None:
    """Ratios with their quartiles on a logarithmic axis, beside what was aimed at."""
    figure = Figure(figsize=(7.5, 1.6 + 0.27 * len(rows)), layout="constrained")
    axes = figure.subplots()
    axes.set_axisbelow(True)
    for part, (marker, color) in PARTS.items():
        chosen = [(y, row.ratio) for y, row in enumerate(rows) if part_of(row) == part]
        if not chosen:
            continue
        places, ratios = zip(*chosen, strict=True)
        middle = [ratio.median for ratio in ratios]
        errors = [[r.median - r.low for r in ratios], [r.high - r.median for r in ratios]]
        axes.errorbar(middle, places, xerr=errors, fmt=marker, color=color, label=part, capsize=2)
    aims = [(y, row.aim) for y, row in enumerate(rows) if row.aim is not None]
    for n, (y, aim) in enumerate(aims):
        label = "aimed at" if n == 0 else None
        axes.plot([aim, aim], [y - 0.4, y + 0.4], color="0.45", linewidth=2, label=label)
    axes.set_xscale("log")
    ends = [x for row in rows for x in (row.ratio.low, row.ratio.high, row.aim or 1.0)]
    axes.set_xlim(min(*ends, 1.0) / 1.25, max(ends) * 1.25)
    low, high = axes.get_xlim()
    ticks = [tick for tick in TICKS if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.set_yticks(range(len(rows)), [name_of(row) for row in rows])
    axes.invert_yaxis()
    axes.grid(axis="x", color="0.88")
    axes.set_xlabel("times faster than the straightforward way, quartiles (logarithmic)")
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    figure.savefig(path, dpi=150)
