"""Training on a catalog that does not fit in memory: seconds a step, and anonymous memory.

    python benchmarks/large.py --folder catalog [--out large.json]             # 9 GB of disk
    python benchmarks/large.py --folder small --items 2000 --users 1000 --pairs 20000 --steps 5

Distilled VBPR, the same with ``sparse=True`` (trained by LazyAdam), and BM3, with their defaults
(``dim=64``), batches of 2048 pairs, each in a process of its own. The features are float16 memory
maps. Anonymous memory (RssAnon, sampled every 50 ms) leaves out pages of mapped files, which the
kernel gives up when it needs room.
"""

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from large_catalog import Catalog, catalog, open_catalog, sizes_from
from torch import nn
from tqdm import tqdm

from sgfd import distill
from sgfd.backbones import BM3, VBPR, LazyAdam
from sgfd.data import PairSampler, prefetched

MODELS: dict[str, Callable[[Catalog], nn.Module]] = {
    "VBPR": lambda data: VBPR(data.train, data.features),
    "VBPR, sparse": lambda data: VBPR(data.train, data.features, sparse=True),
    "BM3": lambda data: BM3(data.train, data.features),
}


def anonymous_gb() -> float:
    """RssAnon of this process now (Linux)."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found.group(1)) * 1024 / 1e9


def stored_bytes_read() -> int:
    """What this process made the kernel fetch from disk, page faults of maps among it (Linux)."""
    found = re.search(r"^read_bytes: (\d+)", Path("/proc/self/io").read_text(), re.M)
    assert found is not None
    return int(found.group(1))


@contextmanager
def watched() -> Iterator[list[float]]:
    """Its one element is the largest ``anonymous_gb`` met so far."""
    largest, done = [anonymous_gb()], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            largest[0] = max(largest[0], anonymous_gb())

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield largest
    finally:
        done.set()
        thread.join()


def train(name: str, folder: Path, *, steps: int, batch_size: int, prefetch: int) -> dict[str, Any]:
    with watched() as largest:
        data = open_catalog(folder)
        model = distill(MODELS[name](data), data.features, torch.from_numpy(data.labels))
        sampler = PairSampler(
            data.train, batch_size=batch_size, num_negatives=0 if name == "BM3" else 1
        )
        made = anonymous_gb()
        optimizer = (
            LazyAdam(model)
            if "sparse" in name
            else torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
        )
        row = sum(m.shape[1] * m.dtype.itemsize for m in data.features.values())
        batches = sampler.epoch(0)
        if prefetch:
            batches = prefetched(batches, model, depth=prefetch)
        seconds, losses, rows = [], [], 0
        before, since = stored_bytes_read(), time.perf_counter()
        for batch in tqdm(islice(batches, steps), total=steps, desc=name, mininterval=5.0):
            optimizer.zero_grad()
            loss = model(batch)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
            now = time.perf_counter()
            seconds.append(now - since)
            rows += len(model.items_of(batch).unique())
            since = time.perf_counter()
        fetched = stored_bytes_read() - before
    states = [x for state in optimizer.state.values() for x in state.values()]
    quarter = max(1, steps // 4)
    return {
        # The first step makes the optimizer's state and the epoch's order.
        "seconds of the first step": seconds[0],
        "seconds per step": statistics.median(seconds[1:] or seconds),
        f"first {quarter} after it": statistics.median(seconds[1 : quarter + 1] or seconds),
        f"last {quarter}": statistics.median(seconds[-quarter:]),
        "slowest after the first": max(seconds[1:] or seconds),
        "anonymous GB, peak": largest[0],
        "anonymous GB, model and sampler": made,
        "parameters, GB": _gigabytes(model.parameters()),
        "optimizer, GB": _gigabytes(x for x in states if isinstance(x, torch.Tensor)),
        "feature rows per step": rows / steps,
        "feature GB gathered": rows * row / 1e9,
        "GB fetched from disk": fetched / 1e9,
        "loss": [losses[0], losses[-1]],
    }


def _gigabytes(tensors: Any) -> float:
    return float(sum(x.numel() * x.element_size() for x in tensors) / 1e9)


def forget_cached_pages() -> bool:
    """Empties the page cache, so that features come from disk; False where that is not allowed."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("1")
    except OSError:
        return False
    return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes_from(parser)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=2048)
    parser.add_argument("--prefetch", type=int, default=0, help="batches read ahead")
    parser.add_argument("--cold", action="store_true", help="empty the page cache before (root)")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=MODELS, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        steps = {"steps": given.steps, "batch_size": given.batch_size, "prefetch": given.prefetch}
        print(json.dumps(train(given.one, given.folder, **steps)))
        return
    catalog(given.folder, items=given.items, users=given.users, pairs=given.pairs)
    report: dict[str, Any] = {
        "items": given.items,
        "users": given.users,
        "pairs": given.pairs,
        "steps": given.steps,
        "batch size": given.batch_size,
        "prefetch": given.prefetch,
        "threads": torch.get_num_threads(),
        "processor": platform.processor() or platform.machine(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("sgfd", "torch", "numpy", "scipy")},
        "results": {},
    }
    for name in given.models:
        cold = forget_cached_pages() if given.cold else False
        command = [sys.executable, *sys.argv, "--one", name]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        report["results"][name] = {"page cache emptied before": cold, **json.loads(said)}
        if given.out is not None:  # after each, as the last takes long
            given.out.write_text(json.dumps(report, indent=2))
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
