"""The loss of a share, such that the mean of all processes' gradients is that of the batch."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sgfd._checks import check_number
from sgfd._loss import SGFDLoss
from sgfd.distributed._share import take_share


@contextmanager
def joined_counts(
    model: nn.Module, *, fraction: float, group: dist.ProcessGroup | None = None
) -> Iterator[None]:
    r"""Means of the distillation loss over the items of all processes, inside.

    Its terms are means over the items with a label, or with a modality, of which the shares of a
    batch have different numbers :math:`n_r`. Inside, a process divides by
    :math:`a_r \sum_s n_s` instead, :math:`a_r` being its fraction of the pairs, so that with
    weights :math:`a_r` the terms of all processes add up to those of the whole batch, and so do
    the means over pairs that recommenders' losses are. With P processes, DistributedDataParallel
    then needs losses multiplied by :math:`P a_r`, since it averages (``joined_loss`` is all of
    this; this function is for batches that come to the processes in parts).

    All processes must enter it together. No gradient flows through the counts.

    Args:
        model: whatever has one ``SGFDLoss`` or more inside; without any, or in one process,
            nothing happens.
        fraction: the process's part of all pairs, in 0..1; ``1 / P`` where parts are equal.
        group: of the processes; None for all.

    Raises:
        ValueError: for a fraction that is not in 0..1.

    Example:
        >>> from sgfd import distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import PairSampler, synthetic_catalog
        >>> from sgfd.distributed import joined_counts
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features, dim=8), data.features, data.labels)
        >>> batch = next(PairSampler(data.train, batch_size=64, seed=0).epoch(0))
        >>> with joined_counts(model, fraction=1.0):  # in one process all pairs are its own
        ...     loss = model(batch)  # with P processes times P * fraction, then backward
        >>> bool(loss == model(batch))
        True
    """
    check_number("fraction", fraction, at_least=0)
    if fraction > 1:
        raise ValueError(f"fraction must be at most 1, the whole; got {fraction!r}.")

    def joined(count: Tensor) -> Tensor:
        total = count.detach() * (fraction > 0)
        dist.all_reduce(total, group=group)
        # The terms of a share without pairs have weight 0, whatever they are divided by.
        return total * fraction if fraction > 0 else count

    losses = [module for module in model.modules() if isinstance(module, SGFDLoss)]
    if place(group)[1] == 1:
        losses = []
    with ExitStack() as stack:
        for loss in losses:
            stack.enter_context(_set(loss, joined))
        yield


def joined_loss(
    model: nn.Module, batch: Sequence[Tensor], *, group: dist.ProcessGroup | None = None
) -> Tensor:
    """The training loss of this process's share of a batch, for ``backward()``.

    The mean of what all processes get is the loss of the whole batch, and the gradients that
    DistributedDataParallel makes of it are those of the whole batch, however the pairs and labels
    are shared out: for losses that are means over the pairs of a batch (VBPR, GRCN and BM3,
    terms that all processes have alike included) plus a distillation loss. MAML's
    ``feature_weight`` and ``covariance_weight`` terms are of the distinct users and items of each
    share, and differ from those of the whole batch.

    Without ``torch.distributed``, or in a group of one process, it is ``model(batch)``.

    Args:
        model: DistributedDataParallel around a backbone, plain or distilled: ``model(batch)`` is
            the loss.
        batch: a ``Batch``, or a plain tuple in its order; the same in all processes.
        group: of the processes; None for all.

    Returns:
        A scalar.

    Raises:
        TypeError: if there are several processes, and no DistributedDataParallel.

    Example:
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import PairSampler, synthetic_catalog
        >>> from sgfd.distributed import joined_loss
        >>> data = synthetic_catalog()
        >>> model = VBPR(data.train, data.features, dim=8)  # one process: no wrapper is needed
        >>> batch = next(PairSampler(data.train, batch_size=64, seed=0).epoch(0))
        >>> bool(joined_loss(model, batch) == model(batch))
        True
    """
    rank, world_size = place(group)
    if world_size == 1:
        alone: Tensor = model(batch)
        return alone
    if not any(isinstance(module, DistributedDataParallel) for module in model.modules()):
        raise TypeError(
            "model must be DistributedDataParallel(model) where there are several processes, or "
            f"each trains by its own gradients; got {type(model).__qualname__}."
        )
    share = take_share(batch, rank=rank, world_size=world_size)
    with joined_counts(model, fraction=share.fraction, group=group):
        loss: Tensor = model(share.batch)
    return loss * (share.fraction * world_size)


def place(group: dist.ProcessGroup | None) -> tuple[int, int]:
    """This process's rank, and how many there are: (0, 1) without ``torch.distributed``."""
    if not (dist.is_available() and dist.is_initialized()):
        return 0, 1
    return dist.get_rank(group), dist.get_world_size(group)


@contextmanager
def _set(loss: SGFDLoss, joined: Callable[[Tensor], Tensor]) -> Iterator[None]:
    before, loss.joined = loss.joined, joined
    try:
        yield
    finally:
        loss.joined = before
