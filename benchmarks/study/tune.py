"""Equal numbers of trials per arm, chosen by validation NDCG@20, on the first seed."""

import json
import math
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import optuna

from sgfd._files import replace_file

from .arms import arms_of
from .grid import EXPLORERS, PRIMARY, Params, Places, Run, effort, trials_of
from .space import STARTS, Base, first_points, next_points
from .store import Row, lock_of, locked, read_rows
from .train import folder_of, train


def tried(run: Run, places: Places) -> list[Row]:
    """The finished trials of an arm, in order."""
    rows = read_rows(places.results / "trials.jsonl")
    mine = [row for row in rows if (row["data"], row["backbone"], row["arm"]) == run[:3]]
    return sorted(mine, key=lambda row: row["trial"])


def tuned_file(run: Run, places: Places) -> Path:
    """Of the chosen configuration that a run takes."""
    arm = arms_of(run.backbone)[run.arm].tuned_as or run.arm
    return places.results / "tuned" / f"{run.data}_{run.backbone}_{arm}.json"


def choice_of(run: Run, places: Places) -> Base | None:
    """What was chosen, and how good it was; None before it is chosen."""
    path = tuned_file(run, places)
    if not path.exists():
        return None
    choice = json.loads(path.read_text())
    return Base(choice["params"], choice["validation"])


def tuned(run: Run, places: Places) -> Params | None:
    """The chosen configuration; None before it is chosen."""
    choice = choice_of(run, places)
    return None if choice is None else choice.params


def points_of(run: Run, places: Places, trials: int) -> list[Params]:
    """What an arm tries whatever the sampler says, of at most so many trials.

    Raises:
        ValueError: for an arm that starts from the explorers' choices before they are made.
    """
    if run.backbone == "none":
        return []
    if run.arm in EXPLORERS:
        return first_points(run.data, run.backbone)[:trials]
    chosen = [choice_of(run._replace(arm=arm), places) for arm in EXPLORERS]
    if chosen[0] is None or chosen[1] is None:
        raise ValueError(f"{run.name} starts from the choices of {EXPLORERS}: tune them first.")
    space = arms_of(run.backbone)[run.arm].space
    return _distinct(next_points(run.backbone, space, chosen[0], chosen[1]))[:trials]


def exchanged(run: Run, places: Places, trials: int) -> list[Params] | None:
    """The best of the other explorer's own trials, as a point more; None while it is at them.

    Neither may lose to the other by what it did not happen to try.
    """
    other = run._replace(arm=next(arm for arm in EXPLORERS if arm != run.arm))
    rows = tried(other, places)
    return [_best(rows[:trials])["params"]] if len(rows) >= trials else None


def next_trial(run: Run, places: Places, trials: int) -> Params | None:
    """What is tried next; None when no trial is due.

    Due are the points, and then the sampler's until there are so many different ones.
    """
    rows = tried(run, places)
    points = points_of(run, places, trials)
    done = [row["params"] for row in rows]
    enough = len(_distinct(done)) >= trials
    if enough and run.arm in EXPLORERS:
        points += exchanged(run, places, trials) or []
    left = [point for point in points if not any(_same(point, params) for params in done)]
    if enough and not left:
        return None
    params = next_params(run, rows, left)
    return None if rows and not params else params  # there may be nothing to tune


def next_params(run: Run, rows: list[Row], left: list[Params]) -> Params:
    """The first of the points left, or the sampler's.

    A function of the trials before it, so a kill changes nothing.
    """
    arm, number = arms_of(run.backbone)[run.arm], len(rows)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(
            seed=number, n_startup_trials=len(STARTS), multivariate=True
        )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for row in rows:
        study.enqueue_trial(row["params"])
        trial = study.ask()
        assert arm.space(trial, run.backbone) == row["params"], "another search space than before"
        study.tell(trial, row["validation"][PRIMARY])
    study.enqueue_trial(left[0] if left else {})
    return arm.space(study.ask(), run.backbone)


def tune(run: Run, places: Places, *, trials: int | None = None) -> Iterator[Row]:
    """Trains what is missing of an arm's trials, and then writes its choice.

    Another process at the same arm makes this one pass it over. Without a number of trials it is
    the cell's. An explorer chooses when the other has had its trials too.
    """
    arm, cell = arms_of(run.backbone)[run.arm], effort(run.data, run.backbone)
    if arm.tuned_as is not None:
        raise ValueError(f"{run.arm!r} takes the configuration of {arm.tuned_as!r}: tune that.")
    trials = trials_of(*run[:3]) if trials is None else trials
    run = run._replace(seed=cell.seeds[0])
    with locked(places.scratch / "locks" / f"tune_{run.name}.lock") as mine:
        if not mine:
            return
        while (params := next_trial(run, places, trials)) is not None:
            yield train(run, params, places, trial=len(tried(run, places)))
        if run.arm in EXPLORERS and exchanged(run, places, trials) is None:
            return
        rows = tried(run, places)
        best = _best(rows)
        for row in rows:  # what is left of the chosen one is the run of this seed
            with locked(lock_of(run, places)) as idle:
                if idle and row["params"] != best["params"]:
                    shutil.rmtree(folder_of(run, row["params"], places), ignore_errors=True)
        choice = {
            "params": best["params"],
            "validation": best["validation"][PRIMARY],
            "trial": best["trial"],
            "trials": len(rows),
        }
        path = tuned_file(run, places)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(choice, indent=2) + "\n"
        if not path.exists() or path.read_text() != text:
            replace_file(path, lambda file: file.write(text.encode()))


def _best(rows: list[Row]) -> Row:
    return max(rows, key=lambda row: row["validation"][PRIMARY])


def _same(a: Params, b: Params) -> bool:
    """But for the last digits, which a sampler may round."""
    return a.keys() == b.keys() and all(
        math.isclose(a[k], b[k], rel_tol=1e-9) if isinstance(a[k], float) else a[k] == b[k]
        for k in a
    )


def _distinct(params: list[Params]) -> list[Params]:
    found: list[Params] = []
    for one in params:
        if not any(_same(one, other) for other in found):
            found.append(one)
    return found
