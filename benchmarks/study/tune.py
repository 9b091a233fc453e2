"""Equal numbers of trials per arm, chosen by validation NDCG@20, on the first seed."""

import json
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
    data = effort(run.data, run.backbone).tuned_on or run.data
    return places.results / "tuned" / f"{data}_{run.backbone}_{arm}.json"


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


def points_of(run: Run, places: Places) -> list[Params]:
    """What an arm tries before the sampler is free.

    Raises:
        ValueError: for an arm that starts from the explorers' choices before they are made.
    """
    if run.backbone == "none":
        return []
    if run.arm in EXPLORERS:
        return first_points(run.data, run.backbone)
    chosen = [choice_of(run._replace(arm=arm), places) for arm in EXPLORERS]
    if chosen[0] is None or chosen[1] is None:
        raise ValueError(f"{run.name} starts from the choices of {EXPLORERS}: tune them first.")
    space = arms_of(run.backbone)[run.arm].space
    return next_points(run.backbone, space, chosen[0], chosen[1])


def next_params(run: Run, rows: list[Row], points: list[Params]) -> Params:
    """What the next trial tries: a function of the trials before it, so a kill changes nothing."""
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
    study.enqueue_trial(points[number] if number < len(points) else {})
    return arm.space(study.ask(), run.backbone)


def tune(run: Run, places: Places, *, trials: int | None = None) -> Iterator[Row]:
    """Trains what is missing of an arm's trials, and then writes its choice.

    Another process at the same arm makes this one pass it over. Without a number of trials it is
    the cell's; a cell that takes the configurations of another dataset has none.
    """
    arm, cell = arms_of(run.backbone)[run.arm], effort(run.data, run.backbone)
    if arm.tuned_as is not None:
        raise ValueError(f"{run.arm!r} takes the configuration of {arm.tuned_as!r}: tune that.")
    if cell.tuned_on is not None:
        return
    trials = trials_of(*run[:3]) if trials is None else trials
    run = run._replace(seed=cell.seeds[0])
    with locked(places.scratch / "locks" / f"tune_{run.name}.lock") as mine:
        if not mine:
            return
        while len(rows := tried(run, places)) < trials:
            params = next_params(run, rows, points_of(run, places))
            if rows and not params:  # there is nothing to tune
                break
            yield train(run, params, places, trial=len(rows))
        best = max(rows, key=lambda row: row["validation"][PRIMARY])
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
