"""What happened in each epoch, which was the best, and when to stop."""

import csv
import io
import math
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning import Callback, LightningModule, Trainer
from torch import Tensor
from typing_extensions import override

from sgfd._checks import check_integer
from sgfd._files import replace_file
from sgfd.training._checkpoint import plain
from sgfd.training._module import RecommenderModule


class EpochRecord(NamedTuple):
    """One epoch.

    Attributes:
        epoch: from 0.
        terms: the mean over the epoch's batches of each training term, ``total`` first (see
            ``RecommenderModule``).
        metrics: the validation metrics after the epoch, means over users.
    """

    epoch: int
    terms: dict[str, float]
    metrics: dict[str, float]


class History(Callback):
    """Records epochs, keeps the parameters of the best and stops when it has long passed.

    Lightning has callbacks for the last two, but they keep scores in single precision, do not
    stop a run resumed after its stop, and know nothing of each other; its means of training
    terms forget the batches before a resume. All state here is in the checkpoint. It needs a
    ``RecommenderModule`` and a validation after every epoch, and raises RuntimeError without.

    Args:
        monitor: the validation metric to maximize, such as ``"ndcg@20"``.
        patience: epochs without improvement before the run stops; None never stops it.
        directory: where to keep the records, as ``history.csv``, and the best parameters, as
            ``best.pt`` (for ``torch.load(weights_only=True)``); None for nowhere.

    Attributes:
        records: one per finished epoch.
        best_epoch: the first epoch with the highest ``monitor``; -1 before any.
        best_value: its ``monitor``.
        best_parameters: the model's state dict after that epoch, on the CPU.
        stopped: whether patience ran out.
    """

    def __init__(
        self, *, monitor: str, patience: int | None, directory: Path | None = None
    ) -> None:
        if patience is not None:
            patience = check_integer("patience", patience, at_least=1)
        self.monitor = monitor
        self.patience = patience
        self.records: list[EpochRecord] = []
        self.best_epoch = -1
        self.best_value = -math.inf
        self.best_parameters: dict[str, Any] = {}
        self._directory = directory
        self._epoch = 0
        self._batches = 0
        self._sums: dict[str, float] = {}
        self._names: list[str] = []
        self._pending: list[Tensor] = []
        self._metrics: dict[str, float] | None = None

    @property
    def stopped(self) -> bool:
        """Whether patience ran out."""
        if self.patience is None or not self.records:
            return False
        return self.records[-1].epoch >= self.best_epoch + self.patience

    @override
    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Refuses modules that give no terms and metrics."""
        if not isinstance(pl_module, RecommenderModule):
            raise TypeError(
                f"History needs a RecommenderModule; got {type(pl_module).__qualname__}."
            )

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stops a run that had stopped before it was resumed.

        Raises:
            ValueError: if validations do not fall on the ends of epochs.
        """
        batches, every = trainer.num_training_batches, trainer.val_check_batch
        if trainer.check_val_every_n_epoch is not None and every and batches % every > 0:
            raise ValueError(
                "History needs a validation at the end of every epoch; the Trainer's "
                f"val_check_interval makes one after every {every} of its {batches} batches. Give "
                "one that divides them."
            )
        if self.stopped:
            trainer.should_stop = True

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """Keeps the batch's terms, on the device: reading them now would wait for it."""
        before = self._batches + len(self._pending)
        if batch_idx == 0 and before:
            warnings.warn(
                f"The {before} batches before were of an epoch that never ended (an interrupt, or "
                "a checkpoint between the last step and the validation, which Lightning then "
                "skips); it has no record.",
                stacklevel=2,
            )
            self._forget()
        self._epoch = trainer.current_epoch
        self._metrics = None  # those before are of other parameters
        terms: dict[str, Tensor] = outputs["terms"]
        self._names = list(terms)
        self._pending.append(torch.stack([term.detach() for term in terms.values()]))
        if len(self._pending) >= 1000:
            self._collect()

    @override
    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Reads the terms, so that a broken loss is reported before the scores it has broken."""
        self._collect()

    @override
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keeps the metrics, which are of the parameters as they are now."""
        assert isinstance(pl_module, RecommenderModule)  # as setup saw
        self._metrics = None if trainer.sanity_checking else dict(pl_module.metrics)

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Makes the record of the epoch, and judges it.

        One that was cut short has none, unless it was validated as it was left.
        """
        assert isinstance(pl_module, RecommenderModule)  # as setup saw
        self._collect()
        if not self._batches:
            return
        metrics, self._metrics = self._metrics, None
        if metrics is None:
            told = trainer.should_stop or 0 <= trainer.max_steps <= trainer.global_step
            if told and not trainer.is_last_batch:
                self._forget()
                return
            raise RuntimeError(
                "History needs a validation at the end of every epoch, to know which is the best; "
                f"epoch {trainer.current_epoch} had none there. Leave the Trainer's "
                "check_val_every_n_epoch, val_check_interval and limit_val_batches as they are."
            )
        terms = {name: total / self._batches for name, total in self._sums.items()}
        self._forget()
        epoch = trainer.current_epoch
        self.records.append(EpochRecord(epoch, terms, metrics))
        value = metrics[self.monitor]
        if value > self.best_value:
            self.best_epoch, self.best_value = epoch, value
            self.best_parameters = {
                name: part.detach().cpu().clone() if isinstance(part, Tensor) else deepcopy(part)
                for name, part in pl_module.model.state_dict().items()
            }
            if self._directory is not None and trainer.is_global_zero:
                best = self.best_parameters
                replace_file(
                    self._directory / "best.pt", lambda file: torch.save(plain(best), file)
                )
        if self._directory is not None and trainer.is_global_zero:
            replace_file(self._directory / "history.csv", lambda file: file.write(self._csv()))
        if self.stopped:
            trainer.should_stop = True
        for logger in trainer.loggers:
            means = {f"epoch/{name}": mean for name, mean in terms.items()}
            logger.log_metrics(means, step=trainer.global_step - 1)

    @override
    def state_dict(self) -> dict[str, Any]:
        """Everything, as plain values and tensors."""
        self._collect()
        return {
            "records": [tuple(record) for record in self.records],
            "best_epoch": self.best_epoch,
            "best_value": self.best_value,
            "best_parameters": self.best_parameters,
            "batches": self._batches,
            "sums": self._sums,
            "metrics": self._metrics,
        }

    @override
    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Goes on from a saved state."""
        self.records = [EpochRecord(*record) for record in state_dict["records"]]
        self.best_epoch = state_dict["best_epoch"]
        self.best_value = state_dict["best_value"]
        self.best_parameters = state_dict["best_parameters"]
        self._batches, self._sums = state_dict["batches"], state_dict["sums"]
        self._metrics = state_dict.get("metrics")

    def _forget(self) -> None:
        self._sums, self._batches, self._pending = {}, 0, []

    def _collect(self) -> None:
        if not self._pending:
            return
        # Added one by one, in double: the same sum wherever checkpoints fall between.
        for row in torch.stack(self._pending).tolist():
            terms = dict(zip(self._names, row, strict=True))
            if not all(map(math.isfinite, row)):
                raise FloatingPointError(
                    f"Training terms must be finite; in epoch {self._epoch}, batch "
                    f"{self._batches}, they are {terms}. A lower learning_rate usually helps."
                )
            self._sums = {name: self._sums.get(name, 0.0) + terms[name] for name in terms}
            self._batches += 1
        self._pending = []

    def _csv(self) -> bytes:
        text = io.StringIO()
        rows = [
            {
                "epoch": record.epoch,
                **{f"train/{name}": value for name, value in record.terms.items()},
                **{f"val/{name}": value for name, value in record.metrics.items()},
            }
            for record in self.records
        ]
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue().encode()
