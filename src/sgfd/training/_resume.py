"""Going on after a kill as if nothing had happened."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch.distributed as dist
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from scipy.sparse import csr_array
from typing_extensions import override

from sgfd._checks import check_integer, check_path
from sgfd.training._checkpoint import AtomicCheckpointIO
from sgfd.training._data import InteractionDataModule
from sgfd.training._generators import generator_states, set_generator_states
from sgfd.training._history import EpochRecord
from sgfd.training._module import RecommenderModule


class ExactResume(Checkpoint):
    """Saves what a run needs to go on to the bit, and puts it back.

    Lightning's checkpoint holds parameters, optimizer, loops and callbacks;
    ``InteractionDataModule`` adds the position in the data, ``History`` its records, and this
    callback the states of the random generators and what the run was. As a ``Checkpoint`` of
    Lightning's it acts after the other callbacks, so that it saves what they have done. Use it
    with ``AtomicCheckpointIO`` and resume with ``trainer.fit(..., ckpt_path=path)``.

    It saves after each epoch, validation included, and every ``every`` steps. Never after an
    epoch's last step but before its validation: Lightning would skip that validation on resuming.

    Args:
        path: of the checkpoint, replaced at each save.
        every: steps between saves within an epoch; None saves after epochs only.
        identity: plain values kept in the checkpoint, for a comparison before resuming.
    """

    def __init__(
        self, path: Path, *, every: int | None = None, identity: Mapping[str, Any] | None = None
    ) -> None:
        if every is not None:
            check_integer("every", every, at_least=1)
        self.path = check_path("path", path)
        self.every = every
        self.identity = dict(identity or {})
        self._states: dict[str, Any] | None = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Puts the generators back: from here on, nothing draws but what drew in the first run."""
        if self._states is not None:
            set_generator_states(self._states, trainer.strategy.root_device)
            self._states = None

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Saves every so many steps."""
        due = self.every is not None and trainer.global_step % self.every == 0
        if due and not trainer.is_last_batch:
            self._save(trainer)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Saves the finished epoch; of one that was cut short the checkpoint before is right."""
        if trainer.is_last_batch:
            self._save(trainer)

    def _save(self, trainer: Trainer) -> None:
        # With optimizer, loops and callbacks; AtomicCheckpointIO reads it with weights_only=True.
        trainer.save_checkpoint(self.path)

    @override
    def on_save_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Adds every process's generators, and the identity, to a checkpoint."""
        own = generator_states(trainer.strategy.root_device)
        states = [own]
        if trainer.world_size > 1:
            states = states * trainer.world_size
            dist.all_gather_object(states, own)
        checkpoint["sgfd"] = {"generators": states, "identity": self.identity}

    @override
    def on_load_checkpoint(
        self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Keeps the generators' states until training starts.

        Raises:
            ValueError: if the checkpoint is of another number of processes.
        """
        states = checkpoint["sgfd"]["generators"]
        if isinstance(states, dict):
            raise ValueError(
                "The checkpoint is of an earlier version of sgfd, whose runs cannot be resumed by "
                "this one: start again in another directory."
            )
        if len(states) != trainer.world_size:
            raise ValueError(
                f"A run of {len(states)} processes must go on with as many, each of which goes on "
                f"with its own random numbers; got {trainer.world_size}. Set devices to what it "
                "was, or start again in another directory."
            )
        self._states = states[trainer.global_rank]


def run_identity(
    module: RecommenderModule, data: InteractionDataModule, *, monitor: str
) -> dict[str, Any]:
    """What must not change between the parts of one run.

    Args:
        module: with the model and the optimizer's settings.
        data: with the training pairs and the sampler's settings.
        monitor: the metric that the best epoch is chosen by.
    """
    optimizer = module.configure_optimizers()
    return {
        "seed": data.seed,
        "batch_size": data.batch_size,
        "num_negatives": data.num_negatives,
        "monitor": monitor,
        "ks": list(module.ks),
        "optimizer": type(optimizer).__qualname__,
        "learning_rate": [group["lr"] for group in optimizer.param_groups],
        "weight_decay": [group.get("weight_decay") for group in optimizer.param_groups],
        "model": type(module.model).__qualname__,
        "model's shapes": {
            name: list(getattr(value, "shape", ()))
            for name, value in module.model.state_dict().items()
        },
        "dataset's shape": list(data.dataset.train.shape),
        "dataset.train": _digest(data.dataset.train),
        "dataset.valid": _digest(data.dataset.valid),
    }


def check_resumable(path: Path, identity: Mapping[str, Any], *, max_epochs: int) -> int:
    """Refuses to go on with another run.

    Args:
        path: of the checkpoint.
        identity: of the run now.
        max_epochs: of the run now.

    Returns:
        The step it was saved after.

    Raises:
        ValueError: if anything differs (the message says what, then and now), or the checkpoint
            has more epochs than ``max_epochs``.
    """
    checkpoint = AtomicCheckpointIO().load_checkpoint(path)
    if "sgfd" not in checkpoint:
        raise ValueError(
            f"{path} must be a checkpoint of sgfd.training.fit; it has no 'sgfd' part."
        )
    saved = checkpoint["sgfd"]["identity"]
    differences = [
        _difference(name, saved[name], now)
        for name, now in identity.items()
        if name in saved and saved[name] != now  # an earlier version knew fewer
    ]
    if differences:
        raise ValueError(
            f"{path} is of another run, and resuming must change nothing but max_epochs and "
            f"patience: {'; '.join(differences)}. Give what was given before, or another directory."
        )
    records = checkpoint["callbacks"]["History"]["records"]
    finished = EpochRecord(*records[-1]).epoch + 1 if records else 0
    if finished > max_epochs:
        raise ValueError(
            f"max_epochs must be at least {finished}, as {path} has; got {max_epochs}."
        )
    return int(checkpoint["global_step"])


def _difference(name: str, before: Any, after: Any) -> str:
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(key for key in {*before, *after} if before.get(key) != after.get(key))[:3]
        before = {key: before.get(key) for key in keys}
        after = {key: after.get(key) for key in keys}
    return f"{name} was {before}, is {after}"


def _digest(pairs: csr_array) -> str:
    rows, columns = pairs.nonzero()
    keys = np.sort(rows.astype(np.int64) * pairs.shape[1] + columns)
    return f"{keys.size} pairs ({hashlib.sha256(keys.tobytes()).hexdigest()[:12]})"
