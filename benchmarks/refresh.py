"""GRCN(refresh_every=n): what it costs in exactness, and what a step takes.

    python -m benchmarks.refresh train DIR    (DIR holds office/: error and accuracy, minutes)
    python -m benchmarks.refresh time         (seconds a step, at the widths of the paper)

``train`` trains GRCN, distilled, on Office (title and description) with each n from the same seed.
At every seventh step, unless it projects all items, loss and gradient are computed exactly as well,
from the same parameters and for the same batch. Errors are relative, the gradient's in the norm
over all parameters, and over the students' alone. An epoch is chosen by validation NDCG@20, as
``fit`` does it.
"""

import argparse
import json
import statistics
from collections.abc import Callable
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from tqdm import tqdm

from sgfd import Distilled, distill
from sgfd.backbones import GRCN, Batch
from sgfd.data import Dataset, PairSampler
from sgfd.evaluation import evaluate

from .cases import Sizes, catalog
from .timing import alternate

EVERY = (1, 2, 5, 10, 50)
BATCH_SIZE, LEARNING_RATE, PATIENCE = 2048, 3e-3, 5


class Error(NamedTuple):
    """Relative errors of one step."""

    loss: float
    gradient: float
    students: float


def gradients(model: Distilled, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The loss, and its gradient over all parameters and over the students'."""
    parameters = dict(model.named_parameters())
    loss = model(batch)
    found = torch.autograd.grad(loss, list(parameters.values()))
    of_students = [
        g.flatten() for name, g in zip(parameters, found, strict=True) if ".projections." in name
    ]
    return loss.detach(), torch.cat([g.flatten() for g in found]), torch.cat(of_students)


def error(model: Distilled, batch: Batch) -> Error:
    """Of the step that comes next, which stays the next one."""
    backbone, cache = model.backbone, model.backbone.cache
    state = {name: x.clone() for name, x in cache.state_dict().items()}
    got = gradients(model, batch)
    cache.load_state_dict(state)
    backbone.cache = None  # exact
    exact = gradients(model, batch)
    backbone.cache = cache
    return Error(*(float((a - b).norm() / b.norm()) for a, b in zip(got, exact, strict=True)))


def train(data: Dataset, every: int, epochs: int) -> dict[str, float]:
    backbone = GRCN(data.train, data.features, refresh_every=every, seed=0)
    model = distill(backbone, data.features, data.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    sampler = PairSampler(data.train, batch_size=BATCH_SIZE, seed=0)
    errors, best, chosen, step = [], -1.0, 0, 0
    for epoch in tqdm(range(epochs), desc=f"every {every}", mininterval=10):
        for batch in sampler.epoch(epoch):
            if step % 7 == 3 and step % every:
                errors.append(error(model, batch))
            optimizer.zero_grad()
            model(batch).backward()
            optimizer.step()
            step += 1
        model.eval()
        metric = evaluate(model.scorer(), data.valid, seen=data.train, ks=(20,)).means()["ndcg@20"]
        model.train()
        if metric > best:
            best, chosen = metric, epoch
        elif epoch - chosen >= PATIENCE:
            break
    typical = (
        Error(*map(statistics.median, zip(*errors, strict=True))) if errors else Error(0, 0, 0)
    )
    worst = Error(*map(max, zip(*errors, strict=True))) if errors else Error(0, 0, 0)
    return {
        "every": every,
        "ndcg@20": best,
        "epoch": chosen,
        "steps": step,
        "typical": typical._asdict(),
        "worst": worst._asdict(),
    }


def stepper(model: nn.Module, batches: list[Batch]) -> Callable[[], None]:
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    turn = cycle(batches)
    model(batches[0])  # fills the cache

    def step() -> None:
        optimizer.zero_grad()
        model(next(turn)).backward()
        optimizer.step()

    return step


def time(times: int, repeats: int) -> list[dict[str, object]]:
    """Seconds of a step that projects all items, of one that does not, and of n together.

    Args:
        times: how many times the paper's users, items and pairs.
        repeats: of each step.
    """
    one = Sizes()
    sizes = one._replace(users=times * one.users, items=times * one.items, pairs=times * one.pairs)
    data = catalog(sizes)
    batches = list(PairSampler(data.train, batch_size=1024, seed=0).epoch(0))[:-1]
    rows: list[dict[str, object]] = []
    for arm in ("plain", "distilled"):
        steps = {}
        for name, every in (("all", 1), ("batch", 10**9)):
            model = GRCN(data.train, data.features, dim=sizes.dim, refresh_every=every)
            wrapped = distill(model, data.features, data.labels) if arm != "plain" else model
            steps[name] = stepper(wrapped, batches)
        seconds = alternate(steps, repeats=repeats, warmup=2)
        each = {name: statistics.median(values) for name, values in seconds.items()}
        for every in EVERY:
            mean = (each["all"] + (every - 1) * each["batch"]) / every
            rows.append({"items": sizes.items, "arm": arm, "every": every, "seconds": mean, **each})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("train", "time"))
    parser.add_argument("folder", nargs="?", type=Path, help="holds office/")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--times", type=int, default=1, help="the paper's users, items and pairs")
    parser.add_argument("--repeats", type=int, default=12)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rows = []
    if args.what == "time":
        rows = time(args.times, args.repeats)
        for row in rows:
            print(f"{row['items']:>8}{row['arm']:>10}{row['every']:>4}{row['seconds']:>9.3f} s")
    else:
        if args.folder is None:
            parser.error("train needs the folder that holds office/")
        data = Dataset.load(args.folder / "office", modalities=("Title", "Desc"), seed=0)
        for every in EVERY:
            row = train(data, every, args.epochs)
            rows.append(row)
            loss, gradient, students = row["typical"].values()
            print(
                f"{every:>4}: loss off by {loss:.1e}, gradient {gradient:.3f}, students' "
                f"{students:.3f}; NDCG@20 {row['ndcg@20']:.4f} at epoch {row['epoch']}",
                flush=True,
            )
    if args.out:
        args.out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
