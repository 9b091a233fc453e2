"""One progress bar for the whole run."""

import sys
from typing import Any

from lightning import Callback, LightningModule, Trainer
from tqdm import tqdm
from typing_extensions import override

from sgfd.training._history import History


class RunProgress(Callback):
    """Shows epochs, steps and the monitored metric, on stderr.

    Lightning's own bar starts anew each epoch, so it never says when the run will end.

    Args:
        history: whose records to show; it must come before this in the list of callbacks.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._bar: Any = None

    @override
    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Opens the bar, at the step that a resumed run has reached."""
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        self._bar = tqdm(
            total=total,
            initial=trainer.global_step,
            unit="step",
            disable=not trainer.is_global_zero,
            dynamic_ncols=True,
            # A log file keeps every line that a terminal would overwrite.
            mininterval=0.1 if sys.stderr.isatty() else 10.0,
        )
        self._describe(trainer.current_epoch, trainer)

    @override
    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
    ) -> None:
        """One step further."""
        self._bar.update()

    @override
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Shows the epoch's metric."""
        self._describe(trainer.current_epoch + 1, trainer)

    @override
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Closes the bar."""
        self._bar.close()

    @override
    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Closes the bar, so that the error starts on a line of its own."""
        if self._bar is not None:
            self._bar.close()

    def _describe(self, finished: int, trainer: Trainer) -> None:
        self._bar.set_description(f"{finished}/{trainer.max_epochs} epochs", refresh=False)
        history = self._history
        if history.records:
            last = history.records[-1].metrics[history.monitor]
            best = f"{history.best_value:.4f} in epoch {history.best_epoch + 1}"
            self._bar.set_postfix_str(f"{history.monitor} {last:.4f}, best {best}", refresh=False)
