"""What is done, running and left, and how long that will take by what was measured."""

from collections.abc import Iterable, Iterator, Sequence
from statistics import mean
from typing import NamedTuple

from .arms import arms_of
from .grid import EXPLORERS, FOR_VALIDATION, Places, Run, effort, trials_of
from .space import nothing
from .store import Row, is_locked, lock_of, read_rows, row_of
from .train import is_done
from .tune import next_trial, tuned


class Count(NamedTuple):
    """Of one arm of one cell. Hours are of one core, None where no run was measured."""

    data: str
    backbone: str
    arm: str
    trials: int
    trials_left: int
    tuning: bool
    done: int
    running: int
    left: int
    test_read: int
    hours_left: float | None


def grid(
    data: Iterable[str],
    backbones: Iterable[str],
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
) -> Iterator[Run]:
    """The runs, seed by seed, so that what is done at any time can be compared.

    Without arms or seeds those of the cell.
    """
    backbones = list(backbones)
    for name in data:
        for backbone in backbones:
            own = effort(name, backbone)
            wanted = own.arms if arms is None else arms
            for seed in own.seeds if seeds is None else seeds:
                for arm in arms_of(backbone):
                    if wanted is None or arm in wanted:
                        yield Run(name, backbone, arm, seed)


def count(runs: Sequence[Run], places: Places, *, trials: int | None = None) -> list[Count]:
    """One count per arm, in the order of the runs."""
    rows, tests, tried = (
        read_rows(places.results / f"{name}.jsonl") for name in ("runs", "test", "trials")
    )
    counts = []
    for cell in dict.fromkeys(run[:3] for run in runs):
        mine = [run for run in runs if run[:3] == cell]
        params = tuned(mine[0], places)
        read = [run for run in mine if row_of(run, params, tests) is not None]
        # Of a run that gave all it has to give, another machine needs no parameters.
        settled = (
            [run for run in mine if row_of(run, params, rows)]
            if cell[2] in FOR_VALIDATION
            else read
        )
        done = [
            run
            for run in mine
            if run in settled or (params is not None and is_done(run, params, places, rows=rows))
        ]
        running = [run for run in mine if run not in done and is_locked(lock_of(run, places))]
        finished = sum((r["data"], r["backbone"], r["arm"]) == cell for r in tried)
        arm = arms_of(cell[1])[cell[2]]
        own = effort(*cell[:2])
        needed = trials_of(*cell) if trials is None else trials
        needed = 0 if arm.tuned_as else 1 if arm.space is nothing else needed
        missing = max(0, needed - finished)
        first = Run(*cell, own.seeds[0])
        if needed and not missing and cell[2] in EXPLORERS:  # is the other's best still to try?
            missing = int(next_trial(first, places, needed) is not None)
        seconds = _seconds(cell, rows + tried)
        left = len(mine) - len(done) - len(running)
        work = missing + left + len(running)
        hours = 0.0 if not work else None if seconds is None else work * seconds / 3600
        tuning = is_locked(places.scratch / "locks" / f"tune_{first.name}.lock")
        counts.append(
            Count(*cell, finished, missing, tuning, len(done), len(running), left, len(read), hours)
        )
    return counts


def show(counts: Sequence[Count]) -> str:
    """As lines to print."""
    lines = [
        f"{'':<34}{'trials':>10}{'done':>7}{'running':>9}{'left':>6}{'test read':>11}{'hours':>8}"
    ]
    for c in counts:
        now = " now" if c.tuning else ""
        hours = "?" if c.hours_left is None else f"{c.hours_left:.2f}"
        name = f"{c.data} {c.backbone} {c.arm}"
        trials = f"{c.trials}+{c.trials_left}{now}" if c.trials_left else str(c.trials)
        lines.append(
            f"{name:<34}{trials:>10}{c.done:>7}{c.running:>9}{c.left:>6}{c.test_read:>11}{hours:>8}"
        )
    known = [c.hours_left for c in counts if c.hours_left is not None]
    unknown = len(counts) - len(known)
    done, running, left, trials = (
        sum(getattr(c, name) for c in counts) for name in ("done", "running", "left", "trials_left")
    )
    lines.append(
        f"{done} runs done, {running} running, {left} left; {trials} trials left; "
        f"{sum(known):.1f} hours of one core"
        + (f", without {unknown} arms not measured yet" if unknown else "")
    )
    return "\n".join(lines)


def _seconds(cell: tuple[str, str, str], rows: Sequence[Row]) -> float | None:
    """CPU seconds of a run of the arm, or else of any arm of the backbone on these data."""
    for length in (3, 2):
        fields = ("data", "backbone", "arm")[:length]
        found = [r["cpu_seconds"] for r in rows if tuple(r[f] for f in fields) == cell[:length]]
        if found:
            return mean(found)
    return None
