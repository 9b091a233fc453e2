"""Runs that kill themselves with SIGKILL, and their continuations, each in its own process.

``python -m training.killed_runs FOLDER``, in ``tests/``, writes one folder per case of ``CASES``
and ``uninterrupted``. The processes are forks of one that has imported everything but trained
nothing, since importing takes longer than all the training does.
"""

import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback
from training.small_models import NoisyMF, small_catalog

from sgfd.training import fit

MAX_EPOCHS = 4


class Case(NamedTuple):
    """Where to kill: at ``hook``, once ``step`` steps are done, in each of the runs in turn."""

    hook: str
    steps: tuple[int, ...]
    checkpoint_every: int | None = 4


CASES = {
    # An epoch is 6 steps. Checkpoints come after steps 4, 6 (epoch end), 8, 12 (epoch end), 16,
    # 18 (epoch end), 20 and 24 (epoch end).
    "before_any_checkpoint": Case("on_train_batch_end", (2,)),
    "middle_of_an_epoch": Case("on_train_batch_end", (11,)),
    "middle_of_a_step": Case("on_after_backward", (9,)),
    "middle_of_an_epoch_without_checkpoints_in_it": Case("on_train_batch_end", (11,), None),
    "after_the_last_step_before_validation": Case("on_validation_start", (12,)),
    "after_validation_before_its_checkpoint": Case("on_train_epoch_end", (12,)),
    "while_a_checkpoint_is_written": Case("replace", (16,)),
    "start_of_an_epoch": Case("on_train_epoch_start", (12,)),
    "last_epoch": Case("on_train_batch_end", (21,)),
    "end_of_the_last_epoch": Case("on_validation_start", (24,)),
    "after_the_end": Case("on_train_end", (24,)),
    "twice": Case("on_train_batch_end", (10, 22)),
}


class Killer(Callback):
    """Kills its own process at a hook, where it runs before the run's checkpoint is saved."""

    def __init__(self, hook: str, step: int) -> None:
        def kill(trainer: Any, *_: Any) -> None:
            if trainer.global_step == step:
                os.kill(os.getpid(), signal.SIGKILL)

        def kill_before_replacing(trainer: Any, *_: Any) -> None:
            if trainer.global_step == step:  # the new file will be written, but not put in place
                os.replace = lambda *_: kill(trainer)

        if hook == "replace":
            self.on_train_batch_end = kill_before_replacing
        else:
            setattr(self, hook, kill)


class Start(Callback):
    """Notes at which step a run begins."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_start(self, trainer: Any, *_: Any) -> None:
        with self.path.open("a") as file:
            file.write(f"{trainer.global_step}\n")


def run(folder: Path, case: Case, *, resume: bool, callbacks: list[Callback]) -> None:
    catalog = small_catalog()
    result = fit(
        NoisyMF(catalog.num_users, catalog.num_items),
        catalog,
        max_epochs=MAX_EPOCHS,
        batch_size=48,
        learning_rate=0.03,
        num_negatives=2,
        seed=7,
        directory=folder / "run",
        resume=resume,
        checkpoint_every=case.checkpoint_every,
        tensorboard=False,
        accelerator="cpu",
        progress=False,
        callbacks=[Start(folder / "starts.txt"), *callbacks],
    )
    assert len(result.history) == MAX_EPOCHS
    (folder / "result.txt").write_text(repr(result._replace(checkpoint=None, best_parameters=None)))


def in_a_process(work: Callable[[], None]) -> int:
    """The status of a fork that did some work."""
    if pid := os.fork():
        return os.waitpid(pid, 0)[1]
    try:
        work()
    except BaseException as error:
        print(repr(error), file=sys.stderr, flush=True)
        os._exit(1)
    os._exit(0)


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    for name, case in {"uninterrupted": Case("", ()), **CASES}.items():
        here = folder / name
        here.mkdir()
        work, resume = partial(run, here, case), False
        for step in case.steps:
            killer = Killer(case.hook, step)
            status = in_a_process(partial(work, resume=resume, callbacks=[killer]))
            assert os.WIFSIGNALED(status), (name, status)
            assert os.WTERMSIG(status) == signal.SIGKILL, (name, status)
            assert not (here / "result.txt").exists(), name
            resume = True
        assert in_a_process(partial(work, resume=resume, callbacks=[])) == 0, name


if __name__ == "__main__":
    main(Path(sys.argv[1]))
