"""One process's part of a batch that all processes have."""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from sgfd._batch import Batch
from sgfd._checks import check_integer, check_tensor


class Share(NamedTuple):
    """What one process trains on of a batch.

    Attributes:
        batch: its pairs.
        fraction: how many of the batch's pairs they are, in 0..1, of all processes together 1. 0
            where the batch has fewer pairs than there are processes: then ``batch`` is a pair of
            another process, so that there is something to compute, and it counts for nothing.
    """

    batch: Batch
    fraction: float


def take_share(batch: Sequence[Tensor], *, rank: int, world_size: int) -> Share:
    """The pairs of one process: each pair goes to exactly one, in order, as evenly as can be.

    Args:
        batch: a ``Batch``, or a plain tuple in its order, the same in all processes.
        rank: of the process, from 0.
        world_size: how many processes there are.

    Raises:
        ValueError: if ``rank`` is not below ``world_size``, or the batch's parts differ in length
            or are empty.

    Example:
        >>> import torch
        >>> from sgfd.backbones import Batch
        >>> from sgfd.distributed import take_share
        >>> batch = Batch(torch.arange(5), torch.arange(10, 15), torch.empty(5, 0))
        >>> for rank in range(2):
        ...     share = take_share(batch, rank=rank, world_size=2)
        ...     print(share.batch.users, share.fraction)
        tensor([0, 1]) 0.4
        tensor([2, 3, 4]) 0.6
    """
    check_integer("world_size", world_size, at_least=1)
    check_integer("rank", rank, at_least=0, below=world_size)
    if len(batch) != 3:
        raise ValueError(
            "A batch must be users, items and negatives, of which a share is taken before "
            f"neighbors are drawn around it; got {len(batch)} parts."
        )
    for part in batch:
        check_tensor("A part of the batch", part)
    whole = Batch(*batch)
    size = len(whole.users)
    if {len(part) for part in whole} != {size} or size == 0:
        raise ValueError(
            "A batch must have as many items and rows of negatives as users, at least one; got "
            f"{[len(part) for part in whole]}."
        )
    first, last = rank * size // world_size, (rank + 1) * size // world_size
    if first == last:
        return Share(Batch(*(part[:1] for part in whole)), 0.0)
    return Share(Batch(*(part[first:last] for part in whole)), (last - first) / size)
