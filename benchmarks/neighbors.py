"""GRCN on parts of a large graph: seconds and peak memory beside those of the whole.

    python -m benchmarks.neighbors [--threads 2] [--out neighbors.json]

A made-up graph of 200,000 users, 100,000 items and 5 M edges (the more popular an item, the lower
its index), features 128 wide, width 64, 1,024 pairs a step, each with one negative. Each line is a
process of its own; its memory has the graph, the features and torch in it.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from sgfd.backbones import GRCN, LazyAdam
from sgfd.data import PairSampler
from sgfd.graph import NeighborSampler

from .memory import peak_mb

USERS, ITEMS, EDGES = 200_000, 100_000, 5_000_000
WAYS: dict[str, list[int] | None] = {
    "nothing": None,
    "the whole graph": None,
    "10, 5, 5": [10, 5, 5],
    "5, 3, 2": [5, 3, 2],
    "3, 2, 1": [3, 2, 1],
    "5, 3, 2, sparse": [5, 3, 2],
    "3, 2, 1, sparse": [3, 2, 1],
}


def graph() -> csr_array:
    rng = np.random.default_rng(0)
    items = (ITEMS * rng.random(2 * EDGES) ** 2).astype(np.int64)
    keys = np.unique(rng.integers(0, USERS, 2 * EDGES) * ITEMS + items)
    users, items = np.divmod(np.sort(rng.permutation(keys)[:EDGES]), ITEMS)
    return csr_array((np.ones(EDGES, np.float32), (users, items)), shape=(USERS, ITEMS))


def measure(way: str, steps: int) -> dict[str, object]:
    train = graph()
    generator = torch.Generator().manual_seed(0)
    features = {"text": torch.randn(ITEMS, 128, generator=generator)}
    sparse, numbers = way.endswith("sparse"), WAYS[way]
    model = GRCN(train, features, dim=64, sparse=sparse)
    row: dict[str, object] = {"way": way}
    if way != "nothing":
        parameters = model.parameters()
        optimizer = LazyAdam(model) if sparse else torch.optim.Adam(parameters, fused=True)
        around = NeighborSampler(train, num_neighbors=numbers) if numbers else None
        drawing, seconds, nodes = [], [], []
        epoch = PairSampler(train, batch_size=1024, seed=0).epoch(0)
        for batch, _ in zip(epoch, range(steps + 1), strict=False):
            start = time.perf_counter()
            part = batch if around is None else around(batch)
            drawn = time.perf_counter()
            optimizer.zero_grad()
            model(part).backward()
            optimizer.step()
            drawing.append(drawn - start)
            seconds.append(time.perf_counter() - start)
            if around is not None:
                nodes.append((len(part.user_nodes), len(part.item_nodes), len(part.edge_items)))
        # The first warms up.
        row |= {
            "seconds": statistics.median(seconds[1:]),
            "drawing": statistics.median(drawing[1:]),
        }
        row["part"] = [int(statistics.median(x)) for x in zip(*nodes, strict=True)]
    return {**row, "peak_mb": peak_mb()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if args.one:
        print(json.dumps(measure(args.one, args.steps)))
        return
    rows = []
    for way in args.ways:
        command = [sys.executable, "-m", "benchmarks.neighbors", "--one", way]
        command += ["--threads", str(args.threads), "--steps", str(args.steps)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    if args.out:
        args.out.write_text(json.dumps({"torch": torch.__version__, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
