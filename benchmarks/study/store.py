"""Rows of JSON lines, per-user metrics and locks: whole or not there, whoever is killed when."""

import fcntl
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sgfd._files import replace_file
from sgfd.evaluation import Evaluation

from .grid import Params, Places, Run

Row = dict[str, Any]
KEPT = ("recall@20", "ndcg@20")  # per user; means of all metrics are in the rows


def read_rows(path: Path) -> list[Row]:
    """All rows; none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add_row(path: Path, row: Mapping[str, Any], *, locks: Path) -> None:
    """Adds a row: the file is replaced by a longer one, one process at a time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(locks / f"{path.name}.lock", wait=True):
        before = path.read_bytes() if path.exists() else b""
        line = json.dumps(row, allow_nan=False) + "\n"
        replace_file(path, lambda file: file.write(before + line.encode()))


def row_of(run: Run, params: Params | None, rows: Iterable[Row]) -> Row | None:
    """The run's row under a configuration, the last of them; None if it is not done."""
    same = [r for r in rows if Run(*(r[f] for f in Run._fields)) == run and r["params"] == params]
    return same[-1] if same else None


def lock_of(run: Run, places: Places) -> Path:
    """What a process at a run holds."""
    return places.scratch / "locks" / f"{run.name}.lock"


@contextmanager
def locked(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Whether this process has the lock. The system frees that of a process that is killed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


@contextmanager
def left_to_do(run: Run, params: Params, path: Path, places: Places) -> Iterator[bool]:
    """Whether a run has no row in a file yet and no process is at it but this, which then is."""
    with locked(lock_of(run, places)) as mine:
        yield mine and row_of(run, params, read_rows(path)) is None


def is_locked(path: Path) -> bool:
    """Whether some process has the lock."""
    if not path.exists():
        return False
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def save_users(path: Path, result: Evaluation) -> None:
    """Per-user metrics in half precision, whose error in a mean over users is below 1e-6."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: result.per_user[name].astype(np.float16) for name in KEPT}
    users = result.users.astype(np.int32)
    replace_file(path, lambda file: np.savez_compressed(file, users=users, **arrays))


def load_users(path: Path, metric: str) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The users and one metric of each."""
    with np.load(path, allow_pickle=False) as file:
        return file["users"].astype(np.int64), file[metric].astype(np.float64)
