"""Training from start to best epoch in one call."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from lightning import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from torch import nn

from sgfd._checks import check_integer, check_path
from sgfd._functional import cast_anew
from sgfd.data import Dataset
from sgfd.training._checkpoint import AtomicCheckpointIO
from sgfd.training._checks import check_model, check_settings, checkpoint_to_resume
from sgfd.training._data import InteractionDataModule
from sgfd.training._generators import seeded_generators
from sgfd.training._history import EpochRecord, History
from sgfd.training._module import MakeOptimizer, RecommenderModule
from sgfd.training._processes import (
    check_processes,
    lost_processes_named,
    read_ahead,
    seed_of,
    teacher_rests,
    ways,
)
from sgfd.training._progress import RunProgress
from sgfd.training._quiet import quiet_lightning
from sgfd.training._resume import ExactResume, check_resumable, run_identity
from sgfd.training._schedule import Schedule, weights_at


class FitResult(NamedTuple):
    """How a run went.

    Attributes:
        history: one record per epoch, with the means of the training terms and the validation
            metrics.
        best_epoch: the epoch whose parameters the model has now, from 0; -1 if none ended.
        best_value: its validation metric.
        stopped_early: whether ``patience`` ran out before ``max_epochs``.
        checkpoint: the file to resume from, None without a directory.
        best_parameters: the file with the model's state dict after the best epoch, likewise.
    """

    history: tuple[EpochRecord, ...]
    best_epoch: int
    best_value: float
    stopped_early: bool
    checkpoint: Path | None
    best_parameters: Path | None


def fit(
    model: nn.Module,
    dataset: Dataset,
    *,
    max_epochs: int,
    batch_size: int = 2048,
    learning_rate: float = 1e-3,
    weight_decay: float = 0.0,
    optimizer: MakeOptimizer | None = None,
    schedule: Schedule | None = None,
    num_negatives: int = 1,
    prefetch: int = 0,
    monitor: str = "ndcg@20",
    patience: int | None = 10,
    ks: Sequence[int] = (10, 20),
    seed: int = 0,
    directory: str | Path | None = None,
    resume: bool = False,
    checkpoint_every: int | None = None,
    tensorboard: bool = True,
    accelerator: str = "auto",
    devices: int = 1,
    strategy: str = "auto",
    progress: bool = True,
    callbacks: Sequence[Callback] = (),
) -> FitResult:
    """Train a recommender, plain or distilled, and leave it with its best epoch's parameters.

    After each epoch the model ranks all items for the users of ``dataset.valid``, with
    ``dataset.train`` left out; the test part is not touched.

    Several ``devices`` are as many processes, each of which trains on its share of every batch.
    They give what one gives, up to rounding, but for dropout and two terms of MAML. All return
    the same; only the first writes files (see the page "Several processes").

    The same seed gives the same batches for any two models, and the same numbers for one model.
    The global generators of Python, NumPy and torch (dropout draws from the last) are seeded
    inside and come back as they were. On a GPU, bits repeat only under
    ``torch.use_deterministic_algorithms(True)``.

    With a directory, the run keeps there ``last.ckpt``, ``best.pt`` (the state dict of the best
    epoch), ``history.csv`` and ``tensorboard/``. A run that was killed at any moment and is called
    again with ``resume=True`` ends with the parameters, optimizer, records and choices of a
    run never interrupted, to the bit, on the same machine and library versions; it only repeats
    the steps since the last checkpoint. Settings, pairs and parameter shapes are compared with
    those of the killed run, of a schedule the first epoch's first and last weights; what the model
    does not keep in its state dict (raw features, loss weights, dropout) is the caller's to give
    again.

    Args:
        model: a ``Recommender``, or ``distill(...)`` of one (any module of which ``model(batch)``
            is a scalar loss and ``model.scores(users)`` gives (B, num_items)). All its parameters
            that are not frozen are trained, in training mode; afterwards it is in evaluation mode,
            where it was.
        dataset: with a validation part.
        max_epochs: epochs at most.
        batch_size: training pairs per step.
        learning_rate: of Adam.
        weight_decay: of Adam; not of sparse embeddings, which ``LazyAdam`` trains.
        optimizer: makes another optimizer from the parameters, and replaces the two above.
        schedule: for a ``Distilled`` model, from the number of steps taken (an int, from 0) to the
            ``(ce_weight, kd_weight)`` of the next one, such as ``warm_up(0.1, 0.01, steps=500)``;
            recorded with the terms. It must depend on nothing but the step. The loss has its own
            weights again afterwards; None trains with those.
        num_negatives: sampled per pair; 0 for models that read none (BM3).
        prefetch: how many batches ahead a thread reads the rows of memory maps (see
            ``sgfd.data.prefetched``); numbers and checkpoints are the same.
        monitor: the metric to maximize, of those in ``sgfd.evaluation.ranking_metrics`` at one of
            ``ks``.
        patience: epochs without improvement before the run stops; None never stops it.
        ks: cut-offs of the validation metrics.
        seed: of batches and global generators, 0 or more.
        directory: for checkpoints and logs, made if need be; None writes nothing.
        resume: go on from ``directory/last.ckpt``. Without that file the run starts from the
            beginning, with a warning, so that one command serves for a job that may be killed.
            A finished run is not trained further; give a larger ``max_epochs`` for that.
        checkpoint_every: steps between checkpoints; None makes one per epoch.
        tensorboard: whether a directory gets TensorBoard logs, of every term every 50 steps and of
            means and metrics every epoch.
        accelerator: of Lightning: "auto", "cpu", "gpu", ...
        devices: how many processes, each with a device of its own (of a CPU, with some cores).
            Lightning starts the script again for each but the first, unless ``torchrun`` did.
        strategy: "ddp" (DistributedDataParallel), "auto" for that with several devices, or
            "ddp_find_unused_parameters_true".
        progress: show a progress bar.
        callbacks: of Lightning, of your own; their ``state_dict`` is in the checkpoint.

    Raises:
        TypeError: if the model has no ``scores``, its loss is not a scalar tensor, or a schedule
            is given for a plain model or gives no numbers.
        ValueError: if arguments are out of range, sizes of model and dataset differ, there is no
            validation part, or a resumed run is not the same run.
        FileExistsError: if the directory has a run in it and ``resume`` is False.
        FloatingPointError: if the loss is not finite.
        RuntimeError: if another process of the run has ended.

    Example:
        >>> from sgfd.training import fit
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> catalog = synthetic_catalog(num_users=60, num_items=50, num_classes=3)
        >>> model = VBPR(catalog.train, catalog.features, dim=8)
        >>> result = fit(model, catalog, max_epochs=3, accelerator="cpu", progress=False)
        >>> len(result.history), sorted(result.history[0].terms)
        (3, ['recommendation', 'total'])
    """
    check_settings(
        max_epochs=max_epochs,
        patience=patience,
        checkpoint_every=checkpoint_every,
        monitor=monitor,
        ks=ks,
        seed=seed,
        callbacks=callbacks,
    )
    check_model(model, dataset, ks=ks)
    check_integer("prefetch", prefetch, at_least=0)
    devices, max_epochs = check_processes(devices, strategy), int(max_epochs)
    data = InteractionDataModule(
        dataset,
        batch_size=batch_size,
        num_negatives=num_negatives,
        seed=seed,
        through=partial(read_ahead, model=model, depth=prefetch) if prefetch else None,
    )
    module = RecommenderModule(
        model,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        optimizer=optimizer,
        ks=ks,
        schedule=schedule,
    )
    folder = None if directory is None else check_path("directory", directory)
    start = checkpoint_to_resume(folder, resume=resume)
    history = History(monitor=monitor, patience=patience, directory=folder)
    parts: list[Callback] = [history, *callbacks]
    if progress:
        parts.append(RunProgress(history))
    loggers = []
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        identity = run_identity(module, data, monitor=monitor)
        ends = (0, len(data.train_dataloader()) - 1)
        identity["schedule"] = schedule and [list(weights_at(schedule, step)) for step in ends]
        step = 0 if start is None else check_resumable(start, identity, max_epochs=max_epochs)
        parts.append(ExactResume(folder / "last.ckpt", every=checkpoint_every, identity=identity))
        if tensorboard:
            # What was logged after the checkpoint will be logged again: purge_step hides it.
            logger = TensorBoardLogger(
                folder, name="", version="tensorboard", default_hp_metric=False, purge_step=step
            )
            loggers.append(logger)

    steps, where = max_epochs * len(data.train_dataloader()), next(model.parameters()).device
    how = ways(devices, strategy, unused=lambda: teacher_rests(model, schedule, steps))
    model.train()
    with quiet_lightning(), torch.enable_grad(), cast_anew():
        trainer = Trainer(
            max_epochs=max_epochs,
            accelerator=accelerator,
            devices=devices,
            strategy=how.strategy,
            callbacks=parts,
            logger=loggers,
            log_every_n_steps=min(50, len(data.train_dataloader())),
            plugins=[AtomicCheckpointIO(), *how.plugins],
            num_sanity_val_steps=0,
            enable_checkpointing=folder is not None,
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        try:
            own, device = seed_of(data.seed, trainer.global_rank), trainer.strategy.root_device
            with lost_processes_named(folder), seeded_generators(own, device):
                trainer.fit(module, datamodule=data, ckpt_path=start)
        except SystemExit as exit:
            # Lightning turns Ctrl-C into an exit, which would end a notebook's kernel.
            if isinstance(exit.__context__, KeyboardInterrupt):
                raise KeyboardInterrupt from None
            raise
        finally:
            model.to(where)  # Lightning leaves it on the CPU
    if history.best_parameters:  # none where a callback stopped the first epoch
        model.load_state_dict(history.best_parameters)
    model.eval()
    return FitResult(
        history=tuple(history.records),
        best_epoch=history.best_epoch,
        best_value=history.best_value,
        stopped_early=history.stopped,
        checkpoint=None if folder is None else folder / "last.ckpt",
        best_parameters=None if folder is None else folder / "best.pt",
    )
