"""Seconds of an epoch, and from them what the grid costs, before it is run."""

from collections.abc import Sequence
from statistics import median

from sgfd.training import fit

from .arms import arms_of
from .grid import DATA, Places, Run, batch_size, effort, trials_of
from .machine import Clock, surroundings
from .space import OURS, RATE, REGULARIZATION, nothing
from .store import Row, add_row, read_rows
from .train import NEGATIVES, catalog, for_validation

# Until runs tell: the share of max_epochs that a run takes before patience ends it.
SHARE = 0.4
# Each arm costs as much as one of these.
MEASURED = ("plain", "ours")


def measure(run: Run, places: Places, *, epochs: int = 3) -> Row:
    """Trains a few epochs, validation included, at the first point of the search space."""
    data = for_validation(catalog(run, places.root), run)
    params = {"learning_rate": RATE.start, "reg_weight": REGULARIZATION[run.backbone].start}
    params |= {name: setting.start for name, setting in OURS.items()} | {"student": "linear"}
    model = arms_of(run.backbone)[run.arm].build(data, run.backbone, params, run.seed)
    clock = Clock()
    fit(
        model,
        data,
        max_epochs=epochs,
        batch_size=batch_size(run.data, run.backbone),
        num_negatives=NEGATIVES.get(run.backbone, 1),
        progress=False,
        callbacks=[clock],
    )
    spent = {f"{name}_per_epoch": value / epochs for name, value in clock.spent().items()}
    row = run._asdict() | spent | {"epochs": epochs} | surroundings(model)
    add_row(places.results / "speeds.jsonl", row, locks=places.scratch / "locks")
    return row


def plan(runs: Sequence[Run], places: Places, *, trials: int | None = None) -> str:
    """Hours of one core for each cell, by CPU seconds: tuning, the arms tuned, all runs."""
    speeds = {
        (row["data"], row["backbone"], row["arm"]): row["cpu_seconds_per_epoch"]
        for row in read_rows(places.results / "speeds.jsonl")
    }
    rows = [
        row for name in ("runs", "trials") for row in read_rows(places.results / f"{name}.jsonl")
    ]
    lines = ["| cell | s/epoch plain, ours | epochs | tuning | runs | hours |"]
    lines += ["|---|---|---|---|---|---|"]
    sums = [0.0, 0.0]
    for cell in dict.fromkeys(run[:2] for run in runs if run.backbone != "none"):
        seconds = [speeds.get((*cell, arm)) for arm in MEASURED]
        if None in seconds:
            lines.append(f"| {' '.join(cell)} | not measured | | | | ? |")
            continue
        seen = [
            len(r["curve"]) for r in rows if (r["data"], r["backbone"]) == cell and "curve" in r
        ]
        epochs = median(seen) if seen else SHARE * DATA[cell[0]].max_epochs
        hours = [0.0, 0.0]
        for run in (run for run in runs if run[:2] == cell):
            arm = arms_of(cell[1])[run.arm]
            like = "plain" if plain_like(run.arm) else "ours"
            one = epochs * seconds[MEASURED.index(like)] / 3600
            hours[1] += one
            tunes = arm.tuned_as is None and arm.space is not nothing
            count = trials_of(*run[:3]) if trials is None else trials
            # The chosen trial is the first seed's run.
            again = tunes and run.seed == effort(*cell).seeds[0]
            hours[0] += (count - 1) * one if again else 0
        sums = [total + part for total, part in zip(sums, hours, strict=True)]
        each = ", ".join(f"{s:.2f}" for s in seconds)
        length = f"{epochs:.0f}" if seen else f"{epochs:.0f} (guess)"
        lines.append(
            f"| {' '.join(cell)} | {each} | {length} | {hours[0]:.1f} | {hours[1]:.1f} "
            f"| {sum(hours):.1f} |"
        )
    lines.append(f"| all | | | {sums[0]:.1f} | {sums[1]:.1f} | {sum(sums):.1f} |")
    return "\n".join(lines)


def plain_like(arm: str) -> bool:
    """Whether an arm trains no teacher."""
    return arm.startswith("plain") or arm == "alone"
