"""One point, in a process that does nothing else."""

import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from benchmarks.growth.points import EVALUATION, FIXED, Point, Sizes
from benchmarks.memory import peak_mb
from scipy.sparse import csr_array

from sgfd import Distilled, SemanticTeacher, distill
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Batch
from sgfd.data import PairSampler
from sgfd.evaluation import evaluate

DIM, CLASSES, HIDDEN = 64, 50, 128
# With negatives per pair. 2,048 pairs a step, but of MAML, whose attention is of every pair.
BACKBONES = {"vbpr": (VBPR, 2048, 1), "bm3": (BM3, 2048, 0), "grcn": (GRCN, 2048, 1)}
BACKBONES |= {"maml": (MAML, 256, 4)}
# Measured until there are so many, or at least three in so many seconds.
REPEATS, SECONDS = 30, 1.0


def measure(point: Point) -> dict[str, float]:
    """Seconds and MB of a point, the latter above what torch and this library take by themselves.

    An epoch is not run to its end: its seconds are those of its first batch's shuffle, and a
    median step (sampling, forward, backward, Adam) times the number of batches.
    """
    x = torch.ones(512, 512, requires_grad=True)
    (x @ x).sum().backward()  # the buffers of the threads
    base = peak_mb()
    found = ranking(point.sizes) if point.task == EVALUATION else training(point)
    return found | {"mb": peak_mb() - base}


def training(point: Point) -> dict[str, float]:
    """Seconds of a step and of an epoch."""
    kind, batch_size, negatives = BACKBONES[point.task]
    train = interactions(point.sizes)
    model = build(kind, train, point.sizes, fixed=point.axis == FIXED)
    sampler = PairSampler(train, batch_size=batch_size, num_negatives=negatives)
    start = time.perf_counter()
    next(sampler.epoch(0))
    shuffled = time.perf_counter() - start
    batches = repeated(sampler)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)

    def step() -> None:
        batch = next(batches)
        optimizer.zero_grad()
        model(batch).backward()
        optimizer.step()

    seconds = times(step)
    middle = statistics.median(seconds)
    return {
        "step": middle,
        "seconds": shuffled + middle * sampler.num_batches,
        "spread": (max(seconds) - min(seconds)) / middle,
        "steps": len(seconds),
    }


def ranking(sizes: Sizes) -> dict[str, float]:
    """Seconds to rank all items for all users that have something to be found, by VBPR."""
    pairs = interactions(sizes).tocoo()
    held_out = np.random.default_rng(1).random(pairs.nnz) < 0.2

    def part(chosen: np.ndarray) -> csr_array:
        found = (pairs.data[chosen], (pairs.row[chosen], pairs.col[chosen]))
        return csr_array(found, shape=pairs.shape)

    # At least one item to be found of everyone, so that all are ranked.
    users, first = np.unique(pairs.row, return_index=True)
    held_out[first] = True
    seen, target = part(~held_out), part(held_out)
    model = build(VBPR, seen, sizes, fixed=False).eval()
    seconds = times(lambda: evaluate(model.scorer(), target, seen=seen))
    middle = statistics.median(seconds)
    return {"seconds": middle, "users": len(users), "steps": len(seconds)}


def times(step: Callable[[], object]) -> list[float]:
    """Seconds of each call but the first two, or the first one where that took long."""
    begin, seconds = time.perf_counter(), []
    for _ in range(2):
        if time.perf_counter() - begin < SECONDS:
            step()
    begin = time.perf_counter()
    while len(seconds) < REPEATS and (len(seconds) < 3 or time.perf_counter() - begin < SECONDS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return seconds


def repeated(sampler: PairSampler) -> Iterator[Batch]:
    """The first epochs' batches; a smaller last one is left out, where there is another."""
    for epoch in range(REPEATS + 3):
        for index, batch in enumerate(sampler.epoch(epoch)):
            if index == 0 or index < sampler.num_batches - 1:
                yield batch


def build(kind: type, train: csr_array, sizes: Sizes, *, fixed: bool) -> Distilled:
    """A distilled model by the defaults; ``fixed``: the teacher's hidden layer is 128 wide."""
    generator = torch.Generator().manual_seed(0)
    features = {
        f"m{n}": torch.randn(sizes.items, sizes.width, generator=generator)
        for n in range(sizes.modalities)
    }
    labels = torch.randint(0, CLASSES, (sizes.items,), generator=generator)
    teacher = None
    if fixed:
        widths, hidden = dict.fromkeys(features, sizes.width), dict.fromkeys(features, (HIDDEN,))
        teacher = SemanticTeacher(widths, DIM, CLASSES, hidden_features=hidden)
    return distill(
        kind(train, features, dim=DIM), features, labels, teacher=teacher, num_classes=CLASSES
    )


def interactions(sizes: Sizes) -> csr_array:
    """Distinct pairs; items are the more popular the lower their index."""
    rng, keys = np.random.default_rng(0), np.empty(0, dtype=np.int64)
    while keys.size < sizes.pairs:
        users = rng.integers(0, sizes.users, sizes.pairs)
        items = (sizes.items * rng.random(sizes.pairs) ** 1.5).astype(np.int64)
        keys = np.unique(np.concatenate([keys, users * sizes.items + items]))
    users, items = np.divmod(rng.permutation(keys)[: sizes.pairs], sizes.items)
    ones = np.ones(sizes.pairs, dtype=np.float32)
    return csr_array((ones, (users, items)), shape=(sizes.users, sizes.items))
