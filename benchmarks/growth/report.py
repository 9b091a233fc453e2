"""The exponents, in a table and as a figure."""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from benchmarks.growth.points import AXES, EVALUATION, Point
from scipy.stats import linregress

from sgfd.plots._style import COLORS, LINES, MARKERS

mpl.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

Measured = dict[Point, dict[str, float]]
QUANTITIES = {"step": "seconds per step", "seconds": "seconds per epoch", "mb": "MB"}


def exponent(values: Sequence[float], measured: Sequence[float]) -> float:
    """The slope of log measured over log value, by least squares over the upper half; or NaN."""
    half = len(values) // 2
    if len(values) - half < 2 or min(measured[half:]) <= 0:
        return math.nan
    logs = [math.log(x) for x in values[half:]], [math.log(y) for y in measured[half:]]
    return float(linregress(*logs).slope)


def series(found: Measured, task: str, axis: str, of: str) -> tuple[list[int], list[float]]:
    """Values on an axis, in order, and what was measured there."""
    points = sorted((p for p in found if p[:2] == (task, axis)), key=lambda p: p.value)
    points = [p for p in points if of in found[p]]
    return [p.value for p in points], [found[p][of] for p in points]


def rows(found: Measured) -> list[dict[str, object]]:
    """One row per task and axis: its ends, and the exponents."""
    made: list[dict[str, object]] = []
    for task in dict.fromkeys(p.task for p in found):
        for axis in AXES:
            values, _ = series(found, task, axis, "seconds")
            if not values:
                continue
            row: dict[str, object] = {"task": task, "axis": axis, "values": values}
            for of in QUANTITIES:
                at, measured = series(found, task, axis, of)
                if at:
                    row[of], row[f"{of} exponent"] = measured, exponent(at, measured)
            made.append(row)
    return made


def table(found: Measured) -> str:
    """For a terminal, and Markdown."""
    lines = [
        "| task | axis | from | to | s per step | s per epoch | MB | exponents: step, epoch, MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows(found):
        values = row["values"]
        assert isinstance(values, list)
        ends, powers = [], []
        for of in QUANTITIES:
            measured = row.get(of)
            if not isinstance(measured, list):
                ends.append("")
                powers.append("-")
                continue
            ends.append(f"{measured[0]:.3g} to {measured[-1]:.3g}")
            powers.append(f"{row[f'{of} exponent']:.2f}")
        cells = [row["task"], row["axis"], f"{values[0]:,}", f"{values[-1]:,}", *ends]
        lines.append("| " + " | ".join(map(str, [*cells, ", ".join(powers)])) + " |")
    return "\n".join(lines)


def figure(found: Measured, path: Path) -> None:
    """Small panels, a column per axis: seconds and MB of training, seconds of ranking."""
    tasks = [t for t in dict.fromkeys(p.task for p in found) if t != EVALUATION]
    axes = [a for a in AXES if any(p.axis == a for p in found)]
    there = {
        "seconds per epoch": (tasks, "seconds"),
        "MB": (tasks, "mb"),
        "seconds of ranking": ([EVALUATION], "seconds"),
    }
    shown = {k: v for k, v in there.items() if any(p.task in v[0] for p in found)}
    size = (2.3 * len(axes) + 0.6, 2.0 * len(shown) + 0.7)
    picture, panels = plt.subplots(
        len(shown), len(axes), figsize=size, squeeze=False, sharey="row", layout="constrained"
    )
    for line, (label, (drawn, of)) in zip(panels, shown.items(), strict=True):
        for panel, axis in zip(line, axes, strict=True):
            there_any = [draw(panel, found, task, axis, of, n) for n, task in enumerate(drawn)]
            panel.set_visible(any(there_any))
            panel.set(xscale="log", yscale="log", xlabel=axis)
            panel.grid(color="0.9", linewidth=0.6)
            panel.tick_params(labelsize=7, which="both")
            if axis == "modalities":  # less than two decades: torn apart by powers of ten
                some = [v for v in (1, 2, 4, 8, 16) if v <= panel.get_xlim()[1]]
                panel.set_xticks(some, map(str, some))
                panel.minorticks_off()
        line[0].set_ylabel(label)
    handles, names = panels[0][0].get_legend_handles_labels()
    guide = plt.Line2D([], [], color="0.6", linewidth=1)
    picture.legend(
        [*handles, guide], [*names, "linear"], loc="outside upper center", ncols=6, frameon=False
    )
    picture.savefig(path, dpi=130)
    plt.close(picture)


def draw(panel: Axes, found: Measured, task: str, axis: str, of: str, number: int) -> bool:
    """A line, and a gray one of slope 1 that ends where it ends; whether there was any."""
    values, measured = series(found, task, axis, of)
    if not values:
        return False
    color, marker, style = COLORS[number], MARKERS[number], LINES[number]
    panel.plot(values, measured, style, color=color, marker=marker, markersize=4, label=task)
    half = values[len(values) // 2 :]
    straight = [measured[-1] * v / values[-1] for v in half]
    panel.plot(half, straight, color="0.6", linewidth=1, zorder=1)
    return True
