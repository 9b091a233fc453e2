"""Several processes under ``fit``: how they start, what each draws, what is said of a lost one."""

import inspect
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.strategies import DDPStrategy
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from sgfd._batch import Batch
from sgfd._checks import check_integer
from sgfd._distilled import Distilled
from sgfd.data import prefetched
from sgfd.distributed import take_share
from sgfd.distributed._loss import place
from sgfd.training._schedule import Schedule, weights_at

_UNUSED = "ddp_find_unused_parameters_true"  # as Lightning calls it
# What Gloo and NCCL say.
_LOST = re.compile(r"gloo|NCCL|closed by peer|reset by peer|broken pipe|timed out", re.IGNORECASE)


def check_processes(devices: int, strategy: str) -> int:
    """Refuses what is no number of processes, and strategies that ``fit`` does not know.

    Returns:
        The number of processes.

    Raises:
        ValueError: with the argument, what it may be and what was given.
    """
    devices = check_integer("devices", devices, at_least=1)
    if strategy not in ("auto", "ddp", _UNUSED):
        raise ValueError(
            f"strategy must be 'ddp', {_UNUSED!r}, or 'auto' (ddp with several devices); got "
            f"{strategy!r}. For others use a lightning.Trainer of your own."
        )
    return devices


class Ways(NamedTuple):
    """What a Trainer starts processes by."""

    strategy: DDPStrategy | str
    plugins: list[LightningEnvironment]


def ways(devices: int, strategy: str, *, unused: Callable[[], bool]) -> Ways:
    """One process alone, or DistributedDataParallel.

    Args:
        devices: of ``fit``.
        strategy: of ``fit``.
        unused: whether parameters may get no gradient in some step; asked for several processes.
    """
    if devices == 1 and strategy == "auto":
        # One process, whatever the cluster's variables say.
        return Ways("auto", [LightningEnvironment()])
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    # Raw features are buffers. From torch 2.13 on the option has another name.
    buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    find = strategy == _UNUSED or unused()
    options: dict[str, Any] = {buffers: False, "find_unused_parameters": find}
    return Ways(DDPStrategy(**options), [])


def teacher_rests(model: nn.Module, schedule: Schedule | None, steps: int) -> bool:
    """Whether parts of a teacher get no gradient in some step, for want of a ``ce_weight``."""
    if not isinstance(model, Distilled) or not any(
        p.requires_grad for p in model.teacher.parameters()
    ):
        return False
    if schedule is None:
        return bool(model.sgfd_loss.ce_weight == 0)
    return any(weights_at(schedule, step).ce_weight == 0 for step in range(steps))


def seed_of(seed: int, rank: int) -> int:
    """A process's own seed for the global generators; the first process has the one given."""
    if rank == 0:
        return seed
    return int(np.random.SeedSequence(seed, spawn_key=(rank,)).generate_state(1)[0])


def read_ahead(batches: Iterator[Batch], model: Any, depth: int) -> Iterator[Batch]:
    """``prefetched``, of a process's own share where there are several."""
    rank, world_size = place(None)
    if world_size == 1:
        return prefetched(batches, model, depth=depth)
    return prefetched(
        batches,
        model,
        depth=depth,
        items=lambda b: model.items_of(take_share(b, rank=rank, world_size=world_size).batch),
    )


@contextmanager
def lost_processes_named(folder: Path | None) -> Iterator[None]:
    """Says what an error of Gloo or NCCL means, and how to go on.

    Raises:
        RuntimeError: in place of theirs, if there are several processes.
    """
    # Lightning's launcher ends all processes when one has ended, and says which at level INFO.
    launcher = logging.getLogger("lightning.fabric.strategies.launchers.subprocess_script")
    level = launcher.level
    launcher.setLevel(logging.INFO)
    try:
        yield
    except RuntimeError as error:
        rank, world_size = place(None)
        if world_size == 1 or not _LOST.search(str(error)):
            raise
        way = "directory= would have kept checkpoints to go on from"
        if folder is not None:
            last = folder / "last.ckpt"
            there = last.exists()
            way = f"with resume=True, from {last}" if there else f"{folder} has no checkpoint yet"
        raise RuntimeError(
            f"Another process of this run has ended or does not answer: process {rank} of "
            f"{world_size} cannot go on. Start all of them again ({way})."
        ) from error
    finally:
        launcher.setLevel(level)
