"""The test part: read only under committed configurations, and every reading is logged."""

import datetime as dt
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from torch import nn

from sgfd.data import Dataset
from sgfd.evaluation import evaluate
from sgfd.release import published_metrics

from .baselines import Scorer
from .grid import FOR_VALIDATION, PRIMARY, Params, Places, Run, digest
from .machine import git
from .store import Row, add_row, left_to_do, load_users, read_rows, row_of, save_users
from .train import SAME, for_validation, is_done, loaded, scorer, users_of
from .tune import tuned, tuned_file

# Where the users' metrics of a reading are.
PARTS = {"confirmatory": "test", "exploratory": "exploratory"}


class NotCommittedError(RuntimeError):
    """The test part must not be read yet."""


def check_committed(paths: Sequence[Path]) -> str:
    """The commit that holds all these files as they are now.

    Raises:
        NotCommittedError: if one is missing, not in git, or changed since.
    """
    for path in dict.fromkeys(paths):
        if not path.exists():
            raise NotCommittedError(f"{path} is missing: tune before the test part is read.")
        at = path.resolve().parent
        state = git("status", "--porcelain", "--ignored", "--", str(path.resolve()), at=at)
        if state or not git("ls-files", "--", str(path.resolve()), at=at):
            raise NotCommittedError(
                f"{path} is not committed as it is now ({state[:2] or 'no git'}). Commit the "
                "configurations before the test part is read."
            )
    return git("rev-parse", "HEAD", at=paths[0].resolve().parent)


def read_test(runs: Sequence[Run], places: Places) -> Iterator[Row]:
    """Evaluates finished runs of one cell on the test part, one row each.

    The first reading of a cell (data and backbone) is confirmatory, and so is going on with it
    after a kill; any other is exploratory, and its rows say so. A run that was read under its
    configuration is not read again. Several processes can share a reading.

    Raises:
        NotCommittedError: as ``check_committed``.
        RuntimeError: if a run is not done.
        ValueError: if an arm is for the validation part only, or the runs are of several cells.
    """
    if held_back := [run.name for run in runs if run.arm in FOR_VALIDATION]:
        raise ValueError(f"{held_back} are for the validation part only.")
    commit = check_committed([tuned_file(run, places) for run in runs])
    chosen: dict[Run, Params] = {run: tuned(run, places) or {} for run in runs}
    trained = read_rows(places.results / "runs.jsonl")
    if missing := [r for r in runs if not is_done(r, chosen[r], places, rows=trained)]:
        raise RuntimeError(
            f"{len(missing)} runs are not done, or done on another machine, such as "
            f"{missing[0].name}: run first."
        )
    what = digest({run.name: params for run, params in chosen.items()})
    label = _label(runs, what, places)
    read = places.results / "test.jsonl"
    rows = read_rows(read)
    left = {run: params for run, params in chosen.items() if row_of(run, params, rows) is None}
    if left:
        log_read(runs, what=what, label=label, commit=commit, places=places)
    for run, params in left.items():
        with left_to_do(run, params, read, places) as mine:
            if mine:
                yield _read(run, params, places, commit=commit, label=label)


def _label(runs: Sequence[Run], what: str, places: Places) -> str:
    """Confirmatory for the first reading of a cell, and for going on with it."""
    cell = (runs[0].data, runs[0].backbone)
    if any((run.data, run.backbone) != cell for run in runs):
        raise ValueError("one reading is of one cell: one dataset and one backbone.")
    rows = read_rows(places.results / "reads.jsonl")
    before = [row for row in rows if (row["data"], row["backbone"]) == cell]
    return "confirmatory" if not before or before[0]["what"] == what else "exploratory"


def log_read(runs: Sequence[Run], *, what: str, label: str, commit: str, places: Places) -> None:
    """Adds a row that says which runs of a cell are read, before they are."""
    row = {
        "time": dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds"),
        "data": runs[0].data,
        "backbone": runs[0].backbone,
        "what": what,
        "commit": commit,
        "label": label,
        "runs": [run.name for run in runs],
    }
    add_row(places.results / "reads.jsonl", row, locks=places.scratch / "locks")


def _read(run: Run, params: Params, places: Places, *, commit: str, label: str) -> Row:
    data, scores = scores_of(run, params, places)
    ranked = evaluate(scores, data.test, seen=data.seen)
    save_users(users_of(run, PARTS[label], places), ranked)
    metrics = {"none": "bm3", "vbpr": "bm3"}.get(run.backbone, run.backbone)
    published = published_metrics(metrics, scores, data.test, seen=data.seen)
    row = run._asdict() | {
        "params": params,
        "reading": label,
        "commit": commit,
        "test": ranked.means(),
        "groups": groups(scores, data),
        "published": {"metrics": metrics, **published._asdict()},
    }
    add_row(places.results / "test.jsonl", row, locks=places.scratch / "locks")
    return row


def scores_of(run: Run, params: Params, places: Places) -> tuple[Dataset, Scorer]:
    """A finished run's catalog and its scores.

    Raises:
        RuntimeError: if they do not rank the validation part as the run did.
    """
    data, model = loaded(run, params, places)
    scores = _once(scorer(model), data)
    if isinstance(model, nn.Module):
        again = evaluate(scores, for_validation(data, run).valid, seen=data.train).means()[PRIMARY]
        _, before = load_users(users_of(run, "validation", places), PRIMARY)
        if abs(float(before.mean()) - again) > SAME:
            raise RuntimeError(f"{run.name}: best.pt is not the run of the row. Train it again.")
    return data, scores


def _once(scores: Scorer, data: Dataset) -> Scorer:
    """The same scores from a table: several metrics read them, and of MAML they are dear."""
    with torch.no_grad():
        chunks = torch.arange(data.num_users).split(512)
        table = torch.cat([scores(users).cpu() for users in chunks])
    return lambda users: table[users.cpu()]


def groups(scores: Scorer, data: Dataset) -> Row:
    """NDCG@20 and Recall@20 for users with few and many pairs, head, tail and cold items."""
    of_user = np.asarray(data.train.sum(axis=1)).ravel()
    of_item = np.asarray(data.train.sum(axis=0)).ravel()
    many = of_user > np.median(of_user)
    # Head: the most popular items that together have half of the training pairs.
    order = np.argsort(-of_item, kind="stable")
    head = np.zeros(data.num_items, dtype=bool)
    head[order[: np.searchsorted(of_item[order].cumsum(), of_item.sum() / 2) + 1]] = True
    user_groups = {"users with few pairs": ~many, "users with many": many}
    item_groups = {"head items": head, "tail items": ~head & (of_item > 0), "cold": of_item == 0}
    parts = {n: diags_array(m.astype(float)) @ data.test for n, m in user_groups.items()}
    parts |= {n: data.test @ diags_array(m.astype(float)) for n, m in item_groups.items()}
    found = {}
    for name, part in parts.items():
        target = csr_array(part)
        target.eliminate_zeros()
        if target.nnz:
            result = evaluate(scores, target, seen=data.seen)
            means = result.means()
            found[name] = {
                "users": len(result.users),
                **{metric: means[metric] for metric in ("recall@20", "ndcg@20")},
            }
    return found
