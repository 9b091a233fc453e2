"""Runs of ``fit`` in one process and in two, each process a fork of one that has trained nothing.

``python -m training.several_processes FOLDER``, in ``tests/``, writes what
``test_several_processes.py`` compares. What Lightning's launcher or torchrun would say to each
process, its environment says here.
"""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from lightning import Callback
from torch import nn
from training.small_models import NoisyMF, small_catalog

from sgfd import SGFDLoss, bernoulli_kl, binary_cross_entropy, distill
from sgfd.backbones import BM3, GRCN, MAML, VBPR
from sgfd.data import Dataset
from sgfd.training import fit

SEPARABLE = {"dropout": 0.0, "feature_weight": 0.0, "covariance_weight": 0.0}
EPOCHS = 3


class Case(NamedTuple):
    """A model to train."""

    make: Callable[..., nn.Module]
    labels: str | None = "some"
    batch_size: int = 49  # of 260 pairs; the last batch has 15, two processes 7 and 8 of them
    num_negatives: int = 1
    ce_weight: float = 0.3


CASES = {
    "VBPR, plain": Case(VBPR, None),
    "VBPR": Case(VBPR),
    "VBPR, multi-hot labels": Case(VBPR, "multi-hot"),
    "VBPR, a pair left over": Case(VBPR, batch_size=37),
    "VBPR, a teacher that rests": Case(VBPR, ce_weight=0.0),
    "BM3, plain": Case(partial(BM3, dropout=0.0), None, num_negatives=0),
    "BM3": Case(partial(BM3, dropout=0.0), num_negatives=0),
    "GRCN, plain": Case(GRCN, None, num_negatives=2),
    "GRCN": Case(GRCN, num_negatives=2),
    "MAML, plain": Case(partial(MAML, **SEPARABLE), None, num_negatives=3),
    "MAML": Case(partial(MAML, **SEPARABLE), num_negatives=3),
}


def build(case: Case, catalog: Dataset) -> nn.Module:
    features = {m: np.array(x, dtype=np.float64) for m, x in catalog.features.items()}
    features["text"][::4] = np.nan
    model = case.make(catalog.train, features, dim=4).double()
    if case.labels is None:
        return model
    labels = torch.as_tensor(np.array(catalog.labels))
    labels[::3] = -1
    options: dict[str, Any] = {}
    if case.labels == "multi-hot":
        known = labels >= 0
        labels = nn.functional.one_hot(labels.clamp(min=0), catalog.num_classes)
        labels[:, 1] = torch.where(known, labels[:, 1], -1)  # a class unknown of some items
        options = dict.fromkeys(("classification", "fusion"), binary_cross_entropy)
        options["response"] = bernoulli_kl
    loss = SGFDLoss(ce_weight=case.ce_weight, kd_weight=0.2, **options)
    return distill(model, features, labels, loss=loss).double()


def train(case: Case, devices: int, file: str) -> None:
    catalog = small_catalog()
    model = build(case, catalog)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    result = fit(
        model,
        catalog,
        max_epochs=EPOCHS,
        batch_size=case.batch_size,
        learning_rate=0.01,
        num_negatives=case.num_negatives,
        seed=5,
        accelerator="cpu",
        devices=devices,
        progress=False,
    )
    rank = int(os.environ.get("LOCAL_RANK", 0))
    after = model.state_dict()
    history = [tuple(record) for record in result.history]
    still = [name for name in after if torch.equal(after[name], before[name])]
    said = {"history": history, "best": result.best_epoch, "after": after, "still": still}
    torch.save(said, f"{file}.{devices}.{rank}.pt")


class Kill(Callback):
    """Kills the second process after a step."""

    def on_train_batch_end(self, trainer: Any, *_: Any) -> None:
        if trainer.global_rank == 1 and trainer.global_step == 9:
            os.kill(os.getpid(), signal.SIGKILL)


def noisy(folder: Path, *, resume: bool = False, kill: bool = False) -> None:
    catalog = small_catalog()
    fit(
        NoisyMF(catalog.num_users, catalog.num_items),
        catalog,
        max_epochs=3,
        batch_size=48,
        seed=7,
        directory=folder,
        resume=resume,
        checkpoint_every=4,
        accelerator="cpu",
        devices=2,
        progress=False,
        callbacks=[Kill()] if kill else [],
    )


def two_processes(work: Callable[[], None]) -> tuple[list[int], list[str]]:
    """What two forks ended with, and what they raised."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children, pipes = [], []
    for rank in range(2):
        read, write = os.pipe()
        if pid := os.fork():
            os.close(write)
            children.append(pid)
            pipes.append(read)
            continue
        said = ""
        os.environ |= {
            "LOCAL_RANK": str(rank),
            "NODE_RANK": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        try:
            work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(1 if said else 0)
    raised = []
    for pipe in pipes:
        with os.fdopen(pipe) as file:
            raised.append(file.read())
    return [os.waitpid(pid, 0)[1] for pid in children], raised


def main(folder: Path) -> None:
    torch.set_num_threads(1)

    def every(devices: int) -> None:
        for name, case in CASES.items():
            train(case, devices, f"{folder}/{name}")

    status, raised = two_processes(partial(every, 2))
    assert status == [0, 0], raised
    status, raised = two_processes(partial(noisy, folder / "whole"))
    assert status == [0, 0], raised
    start = time.monotonic()
    status, raised = two_processes(partial(noisy, folder / "killed", kill=True))
    said = [str(time.monotonic() - start), *map(str, status), raised[0]]
    (folder / "killed.txt").write_text("\n".join(said))
    status, raised = two_processes(partial(noisy, folder / "killed", resume=True))
    assert status == [0, 0], raised
    every(1)  # last: what has trained does not fork


if __name__ == "__main__":
    main(Path(sys.argv[1]))
