"""Seconds and peak memory of a training step, ours beside the straightforward way, in one run.

    python benchmarks/steps.py [--backbone grcn ...] [--threads 2] [--out steps.json]

The catalog has the sizes of the paper's Office data (4,874 users, 2,406 items, 37,027 pairs, image
4096 and text 1024 wide, 54 labels) with made-up content: speed does not depend on it. Both sides
start from the same parameters; losses and gradients are compared before anything is timed. Their
steps (forward, backward, Adam: fused as ``fit`` has it, against torch's default) alternate, so that
what else the machine does meets both. Memory is the peak of a process of its own, with the data and
torch in it.
"""

import argparse
import copy
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from memory import peak_mb
from scipy.sparse import csr_array
from torch import Tensor
from tqdm import tqdm
from yardsticks import YARDSTICKS, distillation_loss, project

from sgfd import Distilled, distill, release
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Batch, Recommender
from sgfd.data import PairSampler
from sgfd.graph import use_backend

USERS, ITEMS, PAIRS = 4874, 2406, 37027
WIDTHS = {"image": 4096, "text": 1024}
CLASSES, DIM = 54, 128
# Batch size and negatives of the release.
BACKBONES: dict[str, tuple[type[Recommender], int, int, dict[str, object]]] = {
    "bm3": (BM3, 2048, 0, {"dropout": 0.0}),
    "grcn": (GRCN, 1024, 1, {}),
    "maml": (MAML, 256, 4, {"dropout": 0.0}),
    "vbpr": (VBPR, 2048, 1, {}),
}


class Case(NamedTuple):
    model: Distilled
    features: dict[str, Tensor]
    structure: Tensor | None
    batches: list[Batch]


def interactions() -> csr_array:
    """As many pairs as Office has; items are the more popular the lower their index."""
    rng = np.random.default_rng(0)
    items = (ITEMS * rng.random(2 * PAIRS) ** 2).astype(np.int64)
    keys = np.unique(rng.integers(0, USERS, 2 * PAIRS) * ITEMS + items)
    users, items = np.divmod(rng.choice(keys, PAIRS, replace=False), ITEMS)
    return csr_array((np.ones(len(users)), (users, items)), shape=(USERS, ITEMS))


def build(backbone: str, settings: str) -> Case:
    kind, batch_size, negatives, options = BACKBONES[backbone]
    train = interactions()
    generator = torch.Generator().manual_seed(0)
    features = {m: torch.randn(ITEMS, w, generator=generator) for m, w in WIDTHS.items()}
    labels = torch.randint(0, CLASSES, (ITEMS,), generator=generator)
    if settings == "release" and kind is GRCN:
        options = options | {"num_routings": 0, "prune": False}
    model = kind(train, features, dim=DIM, **options)  # type: ignore[arg-type]
    if settings == "release":
        # As examples/reproduce.py has it.
        activation = {GRCN: None, MAML: partial(F.leaky_relu, negative_slope=0.2)}
        preset = release.settings(
            WIDTHS,
            CLASSES,
            out_features=DIM,
            activation=activation.get(kind, F.leaky_relu),
            normalize=kind is not MAML,
            ratio=2 if kind is MAML else 4,
        )
        wrapped = distill(model, features, labels, **preset._asdict())
    else:
        wrapped = distill(model, features, labels, num_classes=CLASSES)
    users, items = (torch.from_numpy(x).long() for x in train.nonzero())
    structure = None
    if kind is GRCN:
        structure = torch.stack([users, items + USERS])
    elif kind is BM3:
        weights = model.graph.weights  # type: ignore[union-attr]
        ends = torch.stack([users, items + USERS])
        structure = torch.sparse_coo_tensor(
            torch.cat([ends, ends.flip(0)], 1), weights.repeat(2), (USERS + ITEMS,) * 2
        ).coalesce()
    sampler = PairSampler(train, batch_size=batch_size, num_negatives=negatives, seed=0)
    batches = [b for b in sampler.epoch(0) if len(b.users) == batch_size]
    return Case(wrapped, features, structure, batches)


def losses(case: Case) -> dict[str, Callable[[Batch], Tensor]]:
    """Ours, and the yardstick on the same parameters."""
    backbone = case.model.backbone
    own = YARDSTICKS[type(backbone)]

    def straightforward(batch: Batch) -> Tensor:
        read = project(case.model, case.features)
        loss = own(
            backbone, batch, {m: forward for m, (forward, _) in read.items()}, case.structure
        )
        embeddings = {m: embed for m, (_, embed) in read.items()}
        items = backbone.items_of(batch)
        return loss + distillation_loss(case.model, items, case.features, embeddings)

    return {"ours": case.model, "straightforward": straightforward}


def check_equal(case: Case) -> None:
    """Both ways give the same loss and the same gradients, in double precision."""
    structure = case.structure
    if structure is not None and structure.is_floating_point():
        structure = structure.double()
    features = {m: x.double() for m, x in case.features.items()}
    double = Case(copy.deepcopy(case.model).double(), features, structure, case.batches)
    found = []
    for loss_of in losses(double).values():
        double.model.zero_grad()
        loss = loss_of(Batch(*(x[:128] for x in double.batches[0])))
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in double.model.parameters()]))
    (loss, gradients), (expected, others) = found
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-9)
    for ours, other in zip(gradients, others, strict=True):
        scale = float(other.abs().max())
        torch.testing.assert_close(ours, other, rtol=1e-6, atol=1e-7 * scale)


def stepper(case: Case, way: str) -> Callable[[int], float]:
    loss_of = losses(case)[way]
    # As ``fit`` makes it, and as torch makes it where nothing is said.
    optimizer = torch.optim.Adam(case.model.parameters(), lr=1e-4, fused=way == "ours" or None)

    def step(n: int) -> float:
        start = time.perf_counter()
        optimizer.zero_grad()
        loss_of(case.batches[n % len(case.batches)]).backward()
        optimizer.step()
        return time.perf_counter() - start

    return step


def peak_memory(backbone: str, settings: str, way: str, backend: str) -> float:
    """MB, of a process of its own that makes three steps; way "none" makes none."""
    command = [sys.executable, __file__, "--peak", backbone, settings, way, backend]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def print_peak(backbone: str, settings: str, way: str, backend: str) -> None:
    case = build(backbone, settings)
    if way != "none":
        with use_backend(backend):
            step = stepper(case, way)
            for n in range(3):
                step(n)
    print(peak_mb())


def measure(backbone: str, settings: str, backends: list[str], repeats: int) -> list[dict]:
    """One row per backend."""
    case = build(backbone, settings)
    steps: dict[str, Callable[[int], float]] = {}
    for backend in backends:
        with use_backend(backend):
            check_equal(case)
    steps = {"straightforward": stepper(case, "straightforward")}
    steps |= dict.fromkeys(backends, stepper(case, "ours"))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for n in tqdm(range(repeats + 2), desc=f"{backbone}, {settings}", leave=False):
        for name, step in steps.items():
            with use_backend("torch" if name == "straightforward" else name):
                seconds = step(n)
            if n >= 2:  # the first two warm up
                times[name].append(seconds)
    slow = statistics.median(times["straightforward"])
    memory = {"none": peak_memory(backbone, settings, "none", "torch")}
    memory["straightforward"] = peak_memory(backbone, settings, "straightforward", "torch")
    rows = []
    for backend in backends:
        ratios = [a / b for a, b in zip(times["straightforward"], times[backend], strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4)
        rows.append(
            {
                "backbone": backbone,
                "settings": settings,
                "backend": backend,
                "seconds": statistics.median(times[backend]),
                "straightforward_seconds": slow,
                "ratio": statistics.median(ratios),
                "ratio_quartiles": [low, high],
                "peak_mb": peak_memory(backbone, settings, "ours", backend),
                "straightforward_peak_mb": memory["straightforward"],
                "without_steps_mb": memory["none"],
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbone", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    parser.add_argument("--settings", nargs="+", default=["release", "default"])
    parser.add_argument("--backend", nargs="+", default=["torch"], help="torch, torch-sparse")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--peak", nargs=4, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.peak:
        print_peak(*args.peak)
        return
    rows = []
    print(
        f"torch {torch.__version__}, {args.threads} threads, {platform.processor() or 'CPU'} "
        f"x{os.cpu_count()}; seconds per step are medians of {args.repeats}\n"
    )
    head = ("backbone", "settings", "backend", "step s", "plainly s", "ratio", "MB", "plainly MB")
    print(("{:>14}" * len(head)).format(*head))
    for backbone in args.backbone:
        # Without a graph there are no kernels to choose.
        backends = args.backend if backbone in ("bm3", "grcn") else ["torch"]
        for settings in args.settings:
            for row in measure(backbone, settings, backends, args.repeats):
                rows.append(row)
                low, high = row["ratio_quartiles"]
                print(
                    f"{row['backbone']:>14}{row['settings']:>14}{row['backend']:>14}"
                    f"{row['seconds']:>14.3f}{row['straightforward_seconds']:>14.3f}"
                    f"{row['ratio']:>6.1f}{f'({low:.1f}-{high:.1f})':>8}"
                    f"{row['peak_mb']:>14.0f}{row['straightforward_peak_mb']:>14.0f}",
                    flush=True,
                )
    if args.out:
        args.out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
