"""A training loop of your own in several processes.

    python examples/own_loop_ddp.py
    torchrun --nproc-per-node 2 examples/own_loop_ddp.py

Every process makes the same batches and trains on its share of each; the gradients are those of
the whole batch, however unevenly its pairs and labels are shared out. Each process ranks the items
for some of the users, and all get the metrics of all. Both commands print the same numbers, up to
rounding. On a made-up catalog: what they are says that the code works, and nothing more.
"""

import argparse
import inspect
import os
from copy import deepcopy
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from sgfd import distill
from sgfd.backbones import VBPR
from sgfd.data import PairSampler, synthetic_catalog
from sgfd.distributed import joined_evaluation, joined_loss


def connect() -> tuple[torch.device, bool]:
    """This process's device, and whether torchrun started it beside others."""
    several = "RANK" in os.environ
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
        torch.cuda.set_device(device)
    if several:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return device, several


def wrap(model: torch.nn.Module, device: torch.device) -> DistributedDataParallel:
    """DistributedDataParallel that does not send raw features, which are buffers, at each step."""
    known = inspect.signature(DistributedDataParallel).parameters
    option = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    devices = [device] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=devices, **{option: False})


def train(args: argparse.Namespace, device: torch.device, several: bool) -> None:
    """Train a distilled VBPR, and keep its best epoch."""
    data = synthetic_catalog(seed=args.seed)
    backbone = VBPR(data.train, data.features, dim=32, seed=args.seed)
    model = distill(backbone, data.features, data.labels, seed=args.seed).to(device)
    trained = wrap(model, device) if several else model
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    # The batch of all processes together, a function of seed and epoch: the same in each.
    sampler = PairSampler(data.train, batch_size=512, seed=args.seed)
    first = not several or dist.get_rank() == 0
    best, best_state = -1.0, {}
    for epoch in range(args.epochs):
        model.train()
        total = torch.zeros((), device=device)
        for batch in sampler.epoch(epoch):
            loss = joined_loss(trained, [part.to(device) for part in batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.detach()
        if several:  # the mean over the processes is the loss of the whole batches
            dist.all_reduce(total)
            total /= dist.get_world_size()

        model.eval()
        found = joined_evaluation(model.scorer(), data.valid, seen=data.train, device=device)
        ndcg = found.means()["ndcg@20"]  # the same in each: they agree on the best epoch
        if first:
            mean = total.item() / sampler.num_batches
            print(f"epoch {epoch + 1}: loss {mean:.5f}, validation ndcg@20 {ndcg:.5f}", flush=True)
        if ndcg > best:
            best, best_state = ndcg, deepcopy(model.state_dict())

    model.load_state_dict(best_state)
    test = joined_evaluation(model.scorer(), data.test, seen=data.seen, device=device).means()
    if first:
        print(f"test ndcg@20 {test['ndcg@20']:.5f}")
        args.out.mkdir(parents=True, exist_ok=True)
        torch.save(best_state, args.out / "best.pt")


def main() -> None:
    """Read the command line, connect, train."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/own_loop_ddp"))
    args = parser.parse_args()
    device, several = connect()
    train(args, device, several)
    if several:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
