"""One training, its row and its files. A killed one goes on where it was."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from benchmarks.memory import peak_mb
from scipy.sparse import csr_array, diags_array
from torch import nn

from sgfd import Distilled
from sgfd.data import Dataset
from sgfd.evaluation import evaluate
from sgfd.training import FitResult, fit

from .arms import arms_of
from .grid import DATA, PRIMARY, Params, Places, Run, batch_size, digest, effort, patience
from .machine import Clock, device_of, forget_peak, surroundings
from .store import Row, add_row, lock_of, locked, read_rows, row_of, save_users

NEGATIVES = {"bm3": 0, "maml": 4}
# How far a run may rank from its row and be the same: users' metrics are kept in half precision.
SAME = 1e-4


def catalog(run: Run, root: Path) -> Dataset:
    """The split of the seed, changed as the arm has it."""
    arm = arms_of(run.backbone)[run.arm]
    return arm.change(DATA[run.data].load(root, run.seed), run.seed)


def for_validation(data: Dataset, run: Run) -> Dataset:
    """With the validation pairs of some users only, where ranking for all is dear."""
    keep = effort(run.data, run.backbone).valid_users
    users = np.flatnonzero(np.diff(data.valid.indptr))
    if keep is None or keep >= len(users):
        return data
    chosen = np.zeros(data.num_users)
    # The same users in every seed: what is compared are means over seeds.
    chosen[np.random.default_rng(20231029).choice(users, keep, replace=False)] = 1
    valid = csr_array(diags_array(chosen) @ data.valid)
    valid.eliminate_zeros()
    return replace(data, valid=valid)


def scorer(model: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    own = model.backbone if isinstance(model, Distilled) else model
    made: Callable[[torch.Tensor], torch.Tensor] = getattr(own, "scorer", lambda: own)()
    return made


def folder_of(run: Run, params: Params, places: Places) -> Path:
    """Of a run's checkpoints: another configuration has another."""
    return places.scratch / "runs" / run.name / digest(params)


def best_of(run: Run, params: Params, places: Places) -> Path:
    """The parameters of a run's best epoch. Not in git: on another machine it is trained again."""
    return folder_of(run, params, places) / "best.pt"


def loaded(run: Run, params: Params, places: Places) -> tuple[Dataset, Any]:
    """A run's catalog and its model, with the parameters of its best epoch, in evaluation mode."""
    data = catalog(run, places.root)
    model = arms_of(run.backbone)[run.arm].build(data, run.backbone, params, run.seed)
    if isinstance(model, nn.Module):
        best = best_of(run, params, places)
        model.load_state_dict(torch.load(best, weights_only=True, map_location="cpu"))
        model.eval()
    return data, model


def users_of(run: Run, part: str, places: Places) -> Path:
    """The file of a run's per-user metrics."""
    return places.results / "users" / part / f"{run.name}.npz"


def run_once(run: Run, params: Params, places: Places) -> Row | None:
    """Trains a run; None if it is done already, or another process is at it.

    Of a run with a row from another machine only the parameters are missing: it is trained to the
    row's best epoch, and whole (with another row) only if it does not rank as it did there.
    """
    with locked(lock_of(run, places)) as mine:
        if not mine or is_done(run, params, places):
            return None
        row = row_of(run, params, read_rows(places.results / "runs.jsonl"))
        begun = (folder_of(run, params, places) / "last.ckpt").exists()
        if row is not None and not begun and _again(row, run, params, places):
            return row
        return train(run, params, places)


def _again(row: Row, run: Run, params: Params, places: Places) -> bool:
    """Whether a run of which there is a row gives the same; then its parameters are there."""
    data = for_validation(catalog(run, places.root), run)
    model = arms_of(run.backbone)[run.arm].build(data, run.backbone, params, run.seed)
    best = best_of(run, params, places)
    folder = best.parent / "again"
    result = fit_of(run, params)(
        model,
        data,
        max_epochs=row["best_epoch"] + 1,
        directory=folder,
        resume=(folder / "last.ckpt").exists(),
    )
    # scorer(model), as rows and readings rank: not by the epoch's own evaluation.
    found = evaluate(scorer(model), data.valid, seen=data.train, device=device_of(model)).means()
    same = abs(found[PRIMARY] - row["validation"][PRIMARY]) <= SAME
    if same and result.best_epoch == row["best_epoch"]:
        (folder / "best.pt").replace(best)
    shutil.rmtree(folder)
    return best.exists()


def is_done(run: Run, params: Params, places: Places, *, rows: Sequence[Row] | None = None) -> bool:
    """Whether a run has its row and, if it was trained, the parameters that the test part needs.

    Whoever asks for many runs gives the rows of runs.jsonl, which are read otherwise.
    """
    rows = read_rows(places.results / "runs.jsonl") if rows is None else rows
    row = row_of(run, params, rows)
    if row is None or "best_epoch" not in row:
        return row is not None
    best = best_of(run, params, places)  # from the first epoch on; last.ckpt goes at the end
    return best.exists() and not (best.parent / "last.ckpt").exists()


def fit_of(run: Run, params: Params) -> Callable[..., FitResult]:
    """``fit`` with what its dataset, its backbone and a configuration say."""
    return partial(
        fit,
        max_epochs=DATA[run.data].max_epochs,
        patience=patience(run.data, run.backbone),
        batch_size=batch_size(run.data, run.backbone),
        learning_rate=params["learning_rate"],
        num_negatives=NEGATIVES.get(run.backbone, 1),
        seed=run.seed,
        tensorboard=False,
        progress=False,
    )


def train(run: Run, params: Params, places: Places, *, trial: int | None = None) -> Row:
    """Trains to the best validation epoch and adds a row; never reads the test part.

    With a trial's number it is a row of trials.jsonl. A run that was a trial is not trained again.
    """
    forget_peak()
    clock = Clock()
    data = for_validation(catalog(run, places.root), run)
    model = arms_of(run.backbone)[run.arm].build(data, run.backbone, params, run.seed)
    folder = folder_of(run, params, places)
    row = run._asdict() | {"params": params} | ({} if trial is None else {"trial": trial})
    result = before = None
    if trial is None and (folder / "last.ckpt").exists():
        before = row_of(run, params, read_rows(places.results / "trials.jsonl"))
    if isinstance(model, nn.Module):
        try:
            result = fit_of(run, params)(
                model,
                data,
                directory=folder,
                resume=(folder / "last.ckpt").exists(),
                callbacks=[clock],
            )
        except FloatingPointError as error:
            if trial is None:
                raise
            row |= {"validation": {"ndcg@20": 0.0}, "diverged": str(error)}
    if "diverged" not in row:
        ranked = evaluate(scorer(model), data.valid, seen=data.train, device=device_of(model))
        row["validation"] = ranked.means()
        if trial is None:
            save_users(users_of(run, "validation", places), ranked)
    if result is not None:
        row |= {
            "batch_size": batch_size(run.data, run.backbone),
            "best_epoch": result.best_epoch,
            "stopped_early": result.stopped_early,
            "curve": [round(epoch.metrics["ndcg@20"], 6) for epoch in result.history],
            "terms": result.history[result.best_epoch].terms,
        }
        if trial is None:
            row["terms_by_epoch"] = {
                name: [round(epoch.terms[name], 4) for epoch in result.history]
                for name in result.history[0].terms
            }
    row |= clock.spent() | {"peak_mb": round(peak_mb())} | surroundings(model)
    if before:  # it was trained then, and is only read again now
        row |= {name: before[name] for name in ("peak_mb", *surroundings(model))}
    name = "runs.jsonl" if trial is None else "trials.jsonl"
    add_row(places.results / name, row, locks=places.scratch / "locks")
    if trial is None:
        (folder / "last.ckpt").unlink(missing_ok=True)  # best.pt is what the test reads
    return row
