"""One process of a distributed run, started by tests/distill/test_ddp.py: rank, world, folder."""

import gc
import sys
from functools import partial
from pathlib import Path

import numpy as np
import strangers
import torch
from scipy.sparse import csr_array
from strangers import ITEMS, USERS, batch, batch_items, features
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sgfd import Distilled, distill
from sgfd.backbones import VBPR
from sgfd.distributed import joined_evaluation, joined_loss

CASES = ("ours", "theirs")
NOT_AT_EVERY_STEP = "broadcast_buffers" if torch.__version__ < (2, 13) else "forward_sync_buffers"


def labels(case: str) -> Tensor:
    """Known of all items of ours; of theirs not, so that halves count differently many labels."""
    y = torch.arange(ITEMS) % 3
    if case == "theirs":
        y[8:11] = -1
    return y


def build(case: str) -> Distilled:
    if case == "ours":
        interactions = csr_array(np.eye(USERS, ITEMS))
        return distill(VBPR(interactions, features(), dim=4), features(), labels(case))
    torch.manual_seed(3)
    return distill(
        strangers.SeparateBuffers(),
        features(),
        labels(case),
        loss_method="calculate_loss",
        items=batch_items,
    )


def part(case: str, rank: int, world: int, *, size: int = 8) -> tuple[Tensor, Tensor, Tensor]:
    """A process's share of the batch; of world 1 the whole."""
    users, items, negatives = (x[:size].chunk(world)[rank] for x in batch())
    return users, items, negatives[:, None] if case == "ours" else negatives


def targets(count: int) -> csr_array:
    """Two relevant items of each of so many users."""
    users = np.arange(count).repeat(2)
    items = (users * 5 + np.arange(2 * count) % 2) % ITEMS
    return csr_array((np.ones(2 * count), (users, items)), shape=(USERS, ITEMS))


def scores(users: Tensor) -> Tensor:
    """Of all items, no two of a user alike."""
    return ((users[:, None] * 7 + torch.arange(ITEMS) * 5) % 11 + torch.arange(ITEMS) / 99).double()


def broken(rank: int, users: Tensor) -> Tensor:
    """Scores of the first process only."""
    if rank == 1:
        raise OSError("the disk of process 1")
    return scores(users)


class Loss(nn.Module):
    """Makes a named loss the forward, which is what DistributedDataParallel runs."""

    def __init__(self, model: Distilled) -> None:
        super().__init__()
        self.model = model

    def forward(self, interaction: tuple[Tensor, ...]) -> Tensor:
        return self.model.calculate_loss(interaction)


def step(case: str, rank: int, world: int, folder: Path) -> None:
    model = build(case)
    if rank > 0:  # overwritten by what the first process has
        with torch.no_grad():
            for p in model.parameters():
                p.add_(1)
    ddp = DistributedDataParallel(
        model if case == "ours" else Loss(model), **{NOT_AT_EVERY_STEP: False}
    )
    losses = []
    for _ in range(2):  # twice: the second finds parameters that were not used
        model.zero_grad()
        loss = ddp(part(case, rank, world))
        loss.backward()
        losses.append(loss.detach())
    assert losses[0] == losses[1]
    grads = {k: p.grad.clone() for k, p in model.named_parameters()}
    torch.save({"loss": losses[0], "grads": grads}, folder / f"{case}{rank}.pt")
    for size in (7, 1):
        model.zero_grad()
        loss = joined_loss(ddp, part(case, 0, 1, size=size))
        loss.backward()
        grads = {k: p.grad for k, p in model.named_parameters()}
        torch.save({"loss": loss.detach(), "grads": grads}, folder / f"{case}{size}of{rank}.pt")
    assert model.sgfd_loss.joined is None


def main(rank: int, world: int, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world
    )
    for case in CASES:
        step(case, rank, world, folder)
    for count in (1, 5):
        found = joined_evaluation(scores, targets(count), ks=[2, 8])
        values = {name: torch.from_numpy(value) for name, value in found.per_user.items()}
        torch.save({"users": found.users.tolist()} | values, folder / f"{count}users{rank}.pt")
    try:
        joined_evaluation(partial(broken, rank), targets(5), ks=[2])
    except (RuntimeError, OSError) as error:
        (folder / f"broken{rank}.txt").write_text(f"{type(error).__name__}: {error}")
    # What still holds the group keeps its threads, which may abort while Python shuts down.
    gc.collect()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
