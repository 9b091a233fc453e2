"""Serving a catalog that does not fit in memory: features to disk, and items for users.

    python benchmarks/large_serve.py --folder catalog --cold --out serve.json  # 9 GB of disk
    python benchmarks/large_serve.py --folder small --items 2000 --users 1000 --pairs 20000

A distilled VBPR (``dim=64``, not trained: speed does not depend on it) of the catalog of
``large_catalog.py``. ``stream_features`` reads its float16 maps with the page cache emptied
(``--cold``) and as they lie in it, and ``top_items`` ranks every item for some users, what they
have seen left out. Both stand beside what the machine does at best: reading the same files from
start to end, copying their rows chunk by chunk, and the matrix products of the very shapes. Each
of the two runs in a process of its own; anonymous memory is sampled every 50 ms.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from large import anonymous_gb, forget_cached_pages, watched
from large_catalog import Catalog, catalog, open_catalog, sizes_from

from sgfd import Distilled, distill
from sgfd._mapped import gather
from sgfd.backbones import VBPR
from sgfd.export import stream_features, top_items

CHUNK, BATCH, BLOCK = 1024, 1024, 4096  # the defaults


def seconds(call: Callable[[], object], repeats: int = 1) -> float:
    """The fewest of some calls."""
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        found.append(time.perf_counter() - start)
    return min(found)


def built(data: Catalog) -> Distilled:
    return distill(VBPR(data.train, data.features), data.features, torch.from_numpy(data.labels))


def read_files(folder: Path, names: "list[str]") -> None:
    """Every byte of the files, through one buffer of 8 MB."""
    buffer = bytearray(2**23)
    for name in names:
        with (folder / f"{name}.npy").open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass


def copy_rows(data: Catalog) -> None:
    for mapped in data.features.values():
        for rows in np.array_split(np.arange(len(mapped)), -(-len(mapped) // CHUNK)):
            gather(mapped, rows)


def multiply(model: Distilled, data: Catalog, repeats: int = 20) -> float:
    """Seconds of the students' products with every item, by those with one chunk."""
    spent = 0.0
    for m, mapped in data.features.items():
        x, student = torch.randn(min(CHUNK, len(mapped)), mapped.shape[1]), model.student(m)
        with torch.no_grad():
            one = seconds(lambda x=x, s=student: F.linear(x, s.weight, s.bias), repeats)
        spent += one * len(mapped) / len(x)
    return spent


def export(folder: Path, *, cold: bool) -> dict[str, Any]:
    data = open_catalog(folder)
    size = sum(x.nbytes for x in data.features.values()) / 1e9
    flop = sum(2 * x.size for x in data.features.values()) * 64
    names, found = list(data.features), {}
    with tempfile.TemporaryDirectory(dir=folder) as out, watched() as largest:
        model = built(data)
        before = anonymous_gb()

        def stream() -> None:
            stream_features(model, out, overwrite=True, progress=True)

        if cold and forget_cached_pages():
            found["GB/s, files read from disk"] = size / seconds(lambda: read_files(folder, names))
            forget_cached_pages()
            found["GB/s, exported from disk"] = size / seconds(stream)
        seconds(stream)  # whatever was in the cache before
        found["GB/s, exported from the page cache"] = size / seconds(stream)
        peak = largest[0]
        found["GB/s, files read from the page cache"] = size / seconds(
            lambda: read_files(folder, names), 2
        )
        copied, multiplied = seconds(lambda: copy_rows(data), 2), multiply(model, data)
        written = sum(path.stat().st_size for path in Path(out).iterdir())
    found |= {
        "GB/s, rows copied from the page cache": size / copied,
        "GB/s, students' products alone": size / multiplied,
        "GFLOP/s, students' products alone": flop / multiplied / 1e9,
        "GB read": size,
        "GB written": written / 1e9,
        "anonymous GB, peak": peak,
        "anonymous GB, model and interactions": before,
    }
    # One after the other: what a processor without another core to read with can reach.
    limit = size / (copied + multiplied)
    found["share of copying and products, page cache"] = (
        found["GB/s, exported from the page cache"] / limit
    )
    if "GB/s, exported from disk" in found:
        limit = min(found["GB/s, files read from disk"], size / multiplied)
        found["share of the disk or the products"] = found["GB/s, exported from disk"] / limit
    return found


def rank(folder: Path, num_users: int, k: int) -> dict[str, Any]:
    with watched() as making:
        data = open_catalog(folder)
        model = built(data)
        start = time.perf_counter()
        vectors = model.vectors()
        made = time.perf_counter() - start
    draw = np.random.default_rng(0)
    users = torch.from_numpy(draw.choice(data.train.shape[0], num_users, replace=False))
    before = anonymous_gb()
    with watched() as ranking:
        spent = seconds(lambda: top_items(vectors, users, k, seen=data.train, progress=True))
    some, width = vectors.users[users[:BATCH]], vectors.items.shape[1]
    items = torch.split(vectors.items[: 16 * BLOCK], BLOCK)
    out = torch.empty(len(some), BLOCK)

    def products() -> None:
        for block in items:
            torch.mm(some, block.T, out=out[:, : len(block)])

    counted = sum(map(len, items))
    ceiling = 2 * len(some) * width * counted / seconds(products, 5)
    speed = 2 * num_users * width * len(vectors.items) / spent
    return {
        "users": num_users,
        "users per second": num_users / spent,
        "GFLOP/s": speed / 1e9,
        "GFLOP/s, products alone": ceiling / 1e9,
        "share of the products": speed / ceiling,
        "width of the vectors": width,
        "GB of the vectors": sum(x.nbytes for x in vectors) / 1e9,
        "seconds of vectors()": made,
        "anonymous GB, before ranking": before,
        "anonymous GB, peak while ranking": ranking[0],
        "anonymous GB, peak": max(making[0], ranking[0]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    sizes_from(parser)
    parser.add_argument("--ranked", type=int, default=4096, help="users to rank the items for")
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--cold", action="store_true", help="from disk too (root)")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", choices=["export", "rank"], help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    if given.one:
        if given.one == "export":
            print(json.dumps(export(given.folder, cold=given.cold)))
        else:
            print(json.dumps(rank(given.folder, given.ranked, given.k)))
        return
    catalog(given.folder, items=given.items, users=given.users, pairs=given.pairs)
    results = {}
    for name in ("export", "rank"):
        command = [sys.executable, *sys.argv, "--one", name]
        said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        results[name] = json.loads(said)
    report = {
        "items": given.items,
        "users": given.users,
        "pairs": given.pairs,
        "k": given.k,
        "threads": given.threads,
        "processor": platform.processor() or platform.machine(),
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("sgfd", "torch", "numpy", "scipy")},
        **results,
    }
    print(json.dumps(report, indent=2))
    if given.out is not None:
        given.out.write_text(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
