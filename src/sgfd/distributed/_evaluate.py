"""Evaluation by all processes, of which each ranks the items for some of the users."""

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.distributed as dist
from scipy.sparse import csr_array
from torch import Tensor

from sgfd._top_items import Vectors
from sgfd.distributed._loss import place
from sgfd.evaluation import Evaluation, evaluate
from sgfd.evaluation._ranking import interactions, users_with_target


def joined_evaluation(
    scores: "Callable[[Tensor], Tensor] | Vectors",
    target: csr_array,
    *,
    seen: csr_array | None = None,
    ks: Sequence[int] = (10, 20),
    batch_size: int = 1024,
    device: torch.device | str | None = None,
    group: dist.ProcessGroup | None = None,
) -> Evaluation:
    """``evaluate``, for which each process ranks the items for every so many-th user.

    Every process gets the metrics of every user, in the order of one process, so that means,
    tests and early stopping are the same everywhere. Without ``torch.distributed``, or in a group
    of one process, it is ``evaluate``.

    Args:
        scores: as of ``evaluate``; in all processes of the same parameters.
        target: likewise, all users in all processes.
        seen: likewise.
        ks: likewise.
        batch_size: likewise.
        device: likewise.
        group: of the processes; None for all.

    Raises:
        TypeError: as ``evaluate``.
        ValueError: as ``evaluate``.
        RuntimeError: in the other processes, where one could not rank: none waits for it.

    Example:
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.distributed import joined_evaluation
        >>> from sgfd.evaluation import popularity
        >>> data = synthetic_catalog()
        >>> found = joined_evaluation(popularity(data.train), data.valid, seen=data.train)
        >>> sorted(found.means())[:2]
        ['hit_rate@10', 'hit_rate@20']
    """
    rank, world_size = place(group)
    run = partial(evaluate, scores, target, seen=seen, ks=ks, batch_size=batch_size, device=device)
    if world_size == 1:
        return run()
    users, num_skipped = users_with_target(interactions(target, seen)[0], None)
    # One without users of its own ranks for the first, which counts once all the same.
    own = users[rank::world_size] if rank < len(users) else users[:1]
    # NCCL reads what is on the GPU, all others what is on the CPU.
    where = torch.device("cuda" if dist.get_backend(group) == "nccl" else "cpu")
    try:
        part = run(users=own)
    except Exception:  # whatever it is, it goes on; but the others must not wait for this one
        _failures(1, where, group)
        raise
    if failed := _failures(0, where, group):
        raise RuntimeError(
            f"{failed} of {world_size} processes could not rank the items for their users; "
            "the reason is in their own errors."
        )
    values = torch.zeros(len(part.per_user), len(users), dtype=torch.float64, device=where)
    if rank < len(users):
        for row, found in zip(values, part.per_user.values(), strict=True):
            row[rank::world_size] = torch.from_numpy(found)
    dist.all_reduce(values, group=group)
    per_user = dict(zip(part.per_user, values.cpu().numpy(), strict=True))
    return Evaluation(users, per_user, num_skipped)


def _failures(own: int, where: torch.device, group: dist.ProcessGroup | None) -> int:
    """How many processes failed, known to all before any sends what it found."""
    count = torch.tensor(own, device=where)
    dist.all_reduce(count, group=group)
    return int(count)
