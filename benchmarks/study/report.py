"""The tables of the study, as Markdown, from the rows and per-user files alone."""

import json
from collections.abc import Iterable, Sequence

import numpy as np

from sgfd.release import recipe

from . import space
from .added import added_table
from .arms import arms_of
from .effects import (
    Cell,
    besides_table,
    effects,
    family_table,
    finished,
    first_read,
    in_short,
    table,
)
from .first_weight import first_weight_table
from .grid import BESIDES, FAMILIES, LAYER, PRIMARY, Places, Run, effort
from .stats import Effect
from .store import Row, read_rows, row_of
from .tune import tuned, tuned_file

# Whose features are others: these are text, the paper's images and text.
IN_THE_PAPER = {"office": "Office", "toys": "ToysGames"}


def means_table(done: dict[Run, Row], part: str, cell: Cell) -> str:
    """Recall@20 and NDCG@20 of every arm: mean and standard deviation over seeds."""
    rows = []
    # Yardsticks are ranked for all validation users.
    some = part == "validation" and effort(*cell).valid_users is not None
    for backbone in (cell[1],) if some else (cell[1], "none"):
        for name, arm in arms_of(backbone).items():
            mine = [row for run, row in done.items() if run[:3] == (cell[0], backbone, name)]
            if mine:
                recall, ndcg = (_spread([r[part][m] for r in mine]) for m in ("recall@20", PRIMARY))
                row = [name, arm.what, recall, ndcg, str(len(mine))]
                if part == "test":
                    row.append(" and ".join(sorted({r["reading"] for r in mine})))
                if part == "validation":
                    seconds, peak = (
                        np.mean([r[f] for r in mine]) for f in ("cpu_seconds", "peak_mb")
                    )
                    row += [f"{seconds:.0f}", f"{peak:.0f}"]
                rows.append(row)
    header = ["arm", "what", "Recall@20", "NDCG@20", "seeds"]
    more = {"validation": ["CPU s", "peak MB"], "test": ["reading"]}
    return table(header + more[part], rows)


def configurations(runs: Iterable[Run], places: Places) -> str:
    """What was chosen, and by how many trials."""
    rows = {}
    for run in runs:
        path = tuned_file(run, places)
        if arms_of(run.backbone)[run.arm].tuned_as is None and path.exists():
            choice = json.loads(path.read_text())
            values = ", ".join(
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}"
                for k, v in choice["params"].items()
            )
            chosen = f"{choice['validation']:.4f} (trial {choice['trial']} of {choice['trials']})"
            rows[run[:3]] = [" ".join(run[:3]), values or "nothing to tune", chosen]
    return table(["arm", "chosen", "validation NDCG@20"], rows.values())


def search_space() -> str:
    """The ranges, all on a log scale; the first trial has the starts."""
    named = {"learning_rate": space.RATE}
    named |= {f"reg_weight ({b})": s for b, s in space.REGULARIZATION.items()}
    named |= {f"{name} (ours)": s for name, s in space.OURS.items()}
    named |= {f"{name} (release)": s for name, s in space.RELEASE.items()}
    rows = [[n, f"{s.low:g} to {s.high:g}", f"{s.start:g}"] for n, s in named.items()]
    return table(
        ["setting", "range", "start"], [*rows, ["student (ours)", "linear, paper", "linear"]]
    )


def group_table(done: dict[Run, Row], cell: Cell) -> str:
    """NDCG@20 by groups of users and items, means over seeds. Of the test part."""
    rows = []
    names = list(next(row["groups"] for run, row in done.items() if run[:2] == cell))
    for arm in dict.fromkeys(run.arm for run in done if run[:2] == cell):
        mine = [row["groups"] for run, row in done.items() if run[:3] == (*cell, arm)]
        values = [np.mean([g[n][PRIMARY] for g in mine if n in g] or [np.nan]) for n in names]
        rows.append([arm, *(f"{value:.4f}" for value in values)])
    return table(["arm", *names], rows)


def published_table(done: dict[Run, Row], cell: Cell) -> str:
    """Recall@20 and NDCG@20 in the release's own metrics, in %, the paper's last. Of the test part.

    With the yardsticks where the metrics are theirs.
    """
    found: dict[str, list[Row]] = {}
    for run, row in done.items():
        if run.data == cell[0] and run.backbone in (cell[1], "none"):
            found.setdefault(run.arm, []).append(row["published"])
    metrics = next(row["published"]["metrics"] for run, row in done.items() if run[:2] == cell)
    rows = []
    for arm, mine in found.items():
        if mine[0]["metrics"] == metrics:
            recall, ndcg = (np.mean([p[name] for p in mine]) for name in ("recall", "ndcg"))
            rows.append([arm, metrics, f"{recall:.2f}", f"{ndcg:.2f}"])
    if cell[0] in IN_THE_PAPER and cell[1] in ("bm3", "grcn", "maml"):
        theirs = recipe(cell[1], IN_THE_PAPER[cell[0]])
        for name, (recall, ndcg) in (("plain", theirs.plain), ("SGFD", theirs.distilled)):
            rows.append([f"the paper, {name}", metrics, f"{recall:.2f}", f"{ndcg:.2f}"])
    return table(["arm", "metrics of", "Recall@20", "NDCG@20"], rows)


def why_table(places: Places, cell: Cell, part: str) -> str:
    """Accuracies, agreements and gradients of the first seed; beside the validation part only."""
    written = read_rows(places.results / "why.jsonl")
    first = [Run(*cell, arm, effort(*cell).seeds[0]) for arm in arms_of(cell[1])]
    rows = [row for run in first if (row := row_of(run, tuned(run, places), written))]
    if part == "test" or not rows:
        return ""
    header = ["arm", "modality", "majority", "linear", "teacher", "student"]
    header += ["10-NN raw", "10-NN teacher", "10-NN student", "gradient", "cosine"]
    return table(header, [line for row in rows for line in why_lines(row)])


def why_lines(row: Row) -> list[list[str]]:
    """One line per modality."""
    pull, lines = row["gradients"], []
    for m, near in row["agreement"].items():
        values = [row["majority"], row["linear"][m], row["teacher"][m], row["student"][m]]
        values += [near["raw"], near["teacher"], near["student"]]
        share = pull["distillation"] / pull["recommendation"]
        shares = [f"{share:.2g}", f"{pull['cosine']:.2f}"]
        lines.append([row["arm"], m, *(f"{v:.2f}" for v in values), *shares])
    return lines


def report(
    runs: Sequence[Run], places: Places, part: str, *, found: Sequence[dict[Cell, Effect]] = ()
) -> str:
    """Everything, of the runs that are done; the families' effects are found unless given."""
    done = finished(runs, places, part)
    found = found or [effects(done, places, part, (b, a)) for b, a in FAMILIES]
    cells = list(dict.fromkeys(r[:2] for r in done if r.backbone != "none"))
    lines = [f"# The study: {part} part", ""]
    for cell in cells:
        lines += [f"## {cell[0]}, {cell[1]}", "", means_table(done, part, cell), ""]
        if part == "test":
            lines += [group_table(done, cell), "", published_table(done, cell), ""]
        if reasons := why_table(places, cell, part):
            lines += [reasons, ""]
    exploratory = [run for run, row in done.items() if row.get("reading") == "exploratory"]
    before = first_read(runs, places) if exploratory else {}
    named = dict(zip(FAMILIES, found, strict=True))
    if any(found):
        declared = {arm for arms in FAMILIES for arm in arms}
        marked = {run[:2] for run in exploratory if run.arm in declared}
        note = ["Again: an arm was read after the cell had been, so these are exploratory.", ""]
        lines[2:2] = ["## In short", "", in_short(named, marked), "", *(note if marked else [])]
    for arms, family in named.items():
        if family:
            changed = {run[:2] for run in exploratory if run.arm in arms}
            shown = family_table(family, again=changed)
            lines += [f"## {arms[0]} (second) against {arms[1]} (first)", "", shown, ""]
            there = {run: row for run, row in before.items() if run[:2] in changed}
            if first := effects(there, places, part, arms):
                kept = first | {cell: e for cell, e in family.items() if cell not in changed}
                shown = family_table({cell: kept[cell] for cell in family if cell in kept})
                note = "As first read, before anything was tuned again (without withdrawn cells):"
                lines += [note, "", shown, ""]
    besides = {arms: effects(done, places, part, arms) for arms in BESIDES}
    layer = {arms: besides[arms] for arms in LAYER}
    if any(layer.values()):
        lines += ["## The layer by itself", "", in_short(layer), ""]
    lines += ["## Comparisons that were not declared", "", besides_table(besides), ""]
    if part == "test" and (added := added_table(done, places)):
        lines += ["## With popularity added", "", added, ""]
    if part == "validation" and (tried := first_weight_table(cells, places)):
        lines += ["## A teacher at the first weight", "", tried, ""]
    lines += ["## Search space", "", search_space(), "", configurations(runs, places), ""]
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    deviation = f" ± {np.std(values, ddof=1):.4f}" if len(values) > 1 else ""
    return f"{np.mean(values):.4f}{deviation}"
