"""Which rows count, the effects between arms, and their tables."""

from collections.abc import Collection, Iterable, Mapping, Sequence

import numpy as np

from .confirm import PARTS
from .grid import BACKBONES, GRID, PRIMARY, Places, Run
from .stats import Effect, Floats, effect, holm
from .store import Row, load_users, read_rows, row_of
from .train import users_of
from .tune import tuned

Cell = tuple[str, str]
Arms = tuple[str, str]


def finished(runs: Iterable[Run], places: Places, part: str) -> dict[Run, Row]:
    """The rows of a part ("validation", "test", "popularity") under what is chosen now."""
    rows = read_rows(places.results / f"{'runs' if part == 'validation' else part}.jsonl")
    found = {run: row_of(run, tuned(run, places), rows) for run in runs}
    return {run: row for run, row in found.items() if row is not None}


def first_read(runs: Iterable[Run], places: Places) -> dict[Run, Row]:
    """The rows of the confirmatory readings, whatever has been tuned again since."""
    rows = read_rows(places.results / "test.jsonl")
    rows = [row for row in rows if row["reading"] == "confirmatory"]
    found = {Run(*(row[f] for f in Run._fields)): row for row in rows}
    return {run: found[run] for run in runs if run in found}


def per_user(done: dict[Run, Row], runs: Sequence[Run], places: Places, part: str) -> Floats:
    """(seeds, users) of the runs of one arm."""
    parts = [PARTS[done[run]["reading"]] if part == "test" else part for run in runs]
    loaded = [load_users(users_of(r, p, places), PRIMARY) for r, p in zip(runs, parts, strict=True)]
    users = loaded[0][0]
    if not all(np.array_equal(users, other) for other, _ in loaded):
        raise ValueError(f"{runs[0].name} and others were ranked for different users.")
    return np.stack([values for _, values in loaded])


def effects(
    done: dict[Run, Row], places: Places, part: str, family: tuple[str, str]
) -> dict[Cell, Effect]:
    """Of every cell in which both arms have runs, over the seeds that both have."""
    found = {}
    for cell in dict.fromkeys((run.data, run.backbone) for run in done):
        seeds = [
            {r.seed for r in done if (r.data, r.backbone, r.arm) == (*cell, a)} for a in family
        ]
        both = sorted(set.intersection(*seeds))
        if both:
            arms = [[Run(*cell, arm, seed) for seed in both] for arm in family[::-1]]
            found[cell] = effect(*(per_user(done, runs, places, part) for runs in arms))
    return found


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def family_table(found: dict[Cell, Effect], *, again: Collection[Cell] = ()) -> str:
    """Effects, with Holm's adjustment of either test over all declared cells.

    Those cells are marked of which an arm was tuned and read again.
    """
    declared = len(GRID) * len(BACKBONES)
    t = holm({cell: e.t_pvalue for cell, e in found.items()}, declared)
    w = holm({cell: e.wilcoxon_pvalue for cell, e in found.items()}, declared)
    rows = [
        [
            _name(cell, again),
            f"{e.mean_a:.4f}",
            f"{e.mean_b:.4f}",
            f"{percent(e.change)} %",
            _interval(e),
            _by_seed(e),
            f"{e.t_pvalue:.2g} ({t[cell]:.2g})",
            f"{e.wilcoxon_pvalue:.2g} ({w[cell]:.2g})",
            f"{e.num_users} / {e.num_seeds}",
        ]
        for cell, e in found.items()
    ]
    header = ["cell", "first", "second", "change", "95 % interval", "by seed"]
    header += ["p of t (Holm)", "p of Wilcoxon (Holm)", "users / seeds"]
    return table(header, rows)


def in_short(families: Mapping[Arms, dict[Cell, Effect]], again: Collection[Cell] = ()) -> str:
    """A line a cell: plain's NDCG@20, the change of each family with its interval; means."""
    cells = list(dict.fromkeys(cell for found in families.values() for cell in found))
    against_plain = [found for (_, first), found in families.items() if first == "plain"]
    rows = []
    for cell in cells:
        plain = [f"{found[cell].mean_a:.4f}" for found in against_plain if cell in found]
        row = [_name(cell, again), next(iter(plain), "")]
        rows.append([*row, *(change(found.get(cell)) for found in families.values())])
    changes = [[e.change for e in found.values()] for found in families.values()]
    means = [percent(np.mean(c)) + " %" if len(c) == len(cells) else "" for c in changes]
    header = ["cell", "plain", *(f"{b} against {a}" for b, a in families)]
    return table(header, [*rows, [f"mean of {len(cells)}", "", *means]])


def besides_table(families: Mapping[Arms, dict[Cell, Effect]]) -> str:
    """Changes with intervals, no tests."""
    rows = [
        [f"{b} against {a}", _name(cell), change(e), _by_seed(e)]
        for (b, a), found in families.items()
        for cell, e in found.items()
    ]
    return table(["comparison", "cell", "change", "by seed"], rows)


def _name(cell: Cell, again: Collection[Cell] = ()) -> str:
    return " ".join(cell) + " (again)" * (cell in again)


def change(e: Effect | None) -> str:
    """In percent, with its interval if there is one."""
    if e is None:
        return ""
    interval = _interval(e)
    return f"{percent(e.change)} %" + (f" ({interval})" if interval else "")


def percent(change: float) -> str:
    """With its sign and one decimal."""
    return f"{round(100 * float(change), 1) + 0.0:+.1f}"  # no -0.0


def _interval(e: Effect) -> str:
    return f"{percent(e.low)} to {percent(e.high)}" if np.isfinite(e.low) else ""


def _by_seed(e: Effect) -> str:
    return " ".join(map(percent, e.by_seed))
