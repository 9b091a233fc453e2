"""A recommender as a LightningModule."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.distributed as dist
from lightning import LightningModule
from torch import Tensor, nn

from sgfd._batch import Batch
from sgfd._checks import check_activations, check_number
from sgfd._distilled import Distilled
from sgfd.backbones import LazyAdam, Recommender
from sgfd.backbones._lazy_adam import fused, sparse_parameters
from sgfd.distributed import Share, joined_counts, joined_evaluation
from sgfd.evaluation._metrics import check_ks
from sgfd.training._data import BatchStream, RankingTask
from sgfd.training._schedule import Schedule, check_schedule, weighted, weights_at

_SCORES = 2**26  # at once, at most, to rank by: a quarter of a GiB

MakeOptimizer = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]


def training_terms(model: nn.Module, batch: Batch) -> dict[str, Tensor]:
    """The training loss and what it is made of.

    Args:
        model: ``model(batch)`` is its training loss.
        batch: the training pairs.

    Returns:
        Scalars, ``total`` first: the loss to minimize. ``recommendation`` is the backbone's own
        loss. A ``Distilled`` model adds ``classification``, ``fusion``, ``response`` and
        ``feature``, before their weights (see ``SGFDTerms``).

    Raises:
        TypeError: if the loss is not a scalar tensor.
    """
    loss, terms = (
        model.loss_and_terms(batch) if isinstance(model, Distilled) else (model(batch), None)
    )
    if not isinstance(loss, Tensor) or loss.ndim:
        raise TypeError(
            f"model(batch) must be the training loss, a scalar tensor; {type(model).__qualname__} "
            f"gave {tuple(loss.shape) if isinstance(loss, Tensor) else type(loss).__qualname__}."
        )
    if terms is None:
        return {"total": loss, "recommendation": loss}
    return {
        "total": loss,
        "recommendation": loss - terms.total,
        "classification": terms.classification,
        "fusion": terms.fusion,
        "response": terms.response,
        "feature": terms.feature,
    }


class RecommenderModule(LightningModule):
    """Trains a backbone, plain or distilled, and ranks all items to validate and test it.

    Logs ``train/total`` and every other term of a training step, and ``val/ndcg@20`` and all
    other metrics of ``sgfd.evaluation.evaluate``.

    Args:
        model: a ``Recommender``, or ``distill(...)`` of one: ``model(batch)`` is the training
            loss and ``model.scores(users)`` are the scores of all items.
        learning_rate: of Adam.
        weight_decay: of Adam, added to the gradient.
        optimizer: makes another optimizer from the parameters, and replaces the two above.
        ks: cut-offs of the metrics.
        schedule: from the number of steps taken to the ``(ce_weight, kd_weight)`` of the next,
            for a ``Distilled`` model; logged. None keeps those of ``model.sgfd_loss``, which are
            only replaced while a step's loss is taken.

    Attributes:
        metrics: means over users of the last validation, ``{"ndcg@20": ..., ...}``, in double
            precision (what Lightning logs is rounded to single). Scores are those of the
            parameters' precision, under mixed precision too.
        ks: the cut-offs.

    Raises:
        TypeError: for what is no model, and for a schedule of a model that is not ``Distilled`` or
            that gives no numbers.
        ValueError: for rates or cut-offs out of range, and for a schedule that gives a weight
            below 0 or not finite.

    Example:
        >>> from sgfd.training import RecommenderModule
        >>> from lightning import Trainer
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> catalog = synthetic_catalog(seed=0)
        >>> module = RecommenderModule(VBPR(catalog.train, catalog.features), learning_rate=1e-2)
        >>> module.configure_optimizers().defaults["lr"]
        0.01
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        learning_rate: float = 1e-3,
        weight_decay: float = 0.0,
        optimizer: MakeOptimizer | None = None,
        ks: Sequence[int] = (10, 20),
        schedule: Schedule | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be an nn.Module; got {type(model).__qualname__}.")
        # Plain numbers: a checkpoint with those of NumPy's could not be read back.
        self._learning_rate = check_number("learning_rate", learning_rate, at_least=0)
        self._weight_decay = check_number("weight_decay", weight_decay, at_least=0)
        check_activations(optimizer=optimizer)
        self.ks: tuple[int, ...] = tuple(check_ks(ks, sys.maxsize, "items, at most").tolist())
        if schedule is not None:
            check_schedule(schedule, model)
        self.model = model
        self.metrics: dict[str, float] = {}
        self._make_optimizer = optimizer
        self._schedule = schedule

    def training_step(self, batch: Batch | Share) -> dict[str, Any]:
        """The loss of a batch, under ``loss``, and its terms, under ``terms``.

        Of a ``Share``, the loss is such that the mean of all processes' gradients is that of the
        whole batch, and the terms are those of the whole batch.
        """
        if isinstance(batch, Share):
            with joined_counts(self.model, fraction=batch.fraction):
                terms = self._terms(batch.batch)
            loss = terms["total"] * (batch.fraction * dist.get_world_size())
            parts = torch.stack([term.detach() for term in terms.values()]) * batch.fraction
            dist.all_reduce(parts)
            terms = dict(zip(terms, parts, strict=True))
        else:
            terms = self._terms(batch)
            loss = terms["total"]
        # Not on_epoch: Lightning's means over an epoch begin anew when it is resumed midway.
        self.log_dict({f"train/{name}": value for name, value in terms.items()}, on_epoch=False)
        return {"loss": loss, "terms": terms}

    def validation_step(self, task: RankingTask) -> None:
        """Ranks all items for every user with a validation item."""
        self.metrics = self._rank(task)
        self._log_metrics("val", self.metrics)

    def on_train_epoch_end(self) -> None:
        """Leaves the rest of an epoch that was cut short, before a checkpoint is made of it."""
        if isinstance(batches := self.trainer.train_dataloader, BatchStream):
            batches.leave()

    def test_step(self, task: RankingTask) -> None:
        """Ranks all items for every user with a test item."""
        self._log_metrics("test", self._rank(task))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam over all parameters, LazyAdam if some are sparse, or what ``optimizer`` makes."""
        if self._make_optimizer is not None:
            made = self._make_optimizer(self.parameters())
            if not isinstance(made, torch.optim.Optimizer):
                raise TypeError(
                    "optimizer= must make a torch.optim.Optimizer of the parameters; it made "
                    f"{made!r}."
                )
            return made
        if any(True for _ in sparse_parameters(self)):
            return LazyAdam(self, lr=self._learning_rate, weight_decay=self._weight_decay)
        return torch.optim.Adam(
            self.parameters(),
            lr=self._learning_rate,
            weight_decay=self._weight_decay,
            fused=fused(self.parameters()),
        )

    def _terms(self, batch: Batch) -> dict[str, Tensor]:
        if self._schedule is None:
            return training_terms(self.model, batch)
        assert isinstance(self.model, Distilled)  # as __init__ saw
        # The step alone decides: a resumed run has the weights it would have had.
        weights = weights_at(self._schedule, self.global_step)
        with weighted(self.model.sgfd_loss, weights):
            terms = training_terms(self.model, batch)
        like = terms["total"].detach()
        return terms | {name: torch.full_like(like, w) for name, w in weights._asdict().items()}

    def _rank(self, task: RankingTask) -> dict[str, float]:
        own = self.model.backbone if isinstance(self.model, Distilled) else self.model
        at_once = max(1, min(1024, _SCORES // task.target.shape[1]))
        # Half of the digits would make ties of close scores, and other metrics than evaluate's.
        with torch.autocast(self.device.type, enabled=False):
            # Ours compute once what users share; a stranger's "scorer" may be anything.
            scores: Any = own.scorer() if isinstance(own, Recommender) else self.model.scores
            found = joined_evaluation(
                scores,
                task.target,
                seen=task.seen,
                ks=self.ks,
                batch_size=at_once,
                device=self.device,
            )
        return found.means()

    def _log_metrics(self, part: str, metrics: dict[str, float]) -> None:
        # Alike in all processes: to say so (sync_dist) keeps Lightning from warning of it.
        named = {f"{part}/{name}": mean for name, mean in metrics.items()}
        self.log_dict(named, batch_size=1, sync_dist=self.trainer.world_size > 1)
