"""Ways to multiply a sparse matrix by a dense one, forward and backward, on any device.

    python -m benchmarks.kernels [--device cuda] [--full] [--out kernels.json]

At the size of the paper's Office data (4,874 users, 2,406 items, 37,027 pairs), with ``--full``
also at a million nodes and 20 million pairs, 64 wide. *Product* has fixed weights, as the
propagation of BM3 has; *attention* is a score per edge, a softmax and a weighted sum, as in GRCN.
All ways are compared, gradients too, before any is timed; then they alternate, so that what else
the machine does meets all. ``auto`` chooses between plain torch and torch-sparse; the others are
yardsticks. Gathering is left out where its edges by width do not fit in memory.
"""

import argparse
import json
import os
import platform
import random
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from tqdm import tqdm

from sgfd.graph import Bipartite, backend, edge_softmax, sddmm, spmm, use_backend
from sgfd.graph._backend import torch_sparse_trouble

Multiply = Callable[[Tensor, Tensor], Tensor]
OURS = {"torch": "torch, CSR int64", "torch-sparse": "torch-sparse"}


class Size(NamedTuple):
    """Of a made-up graph."""

    users: int
    items: int
    pairs: int
    width: int = 64


OFFICE, LARGE = Size(4874, 2406, 37027), Size(500_000, 500_000, 20_000_000)


def interactions(size: Size) -> csr_array:
    """Distinct pairs; items are the more popular the lower their index."""
    rng, keys = np.random.default_rng(0), np.empty(0, dtype=np.int64)
    while keys.size < size.pairs:
        items = (size.items * rng.random(size.pairs) ** 1.5).astype(np.int64)
        drawn = rng.integers(0, size.users, size.pairs) * size.items + items
        keys = np.unique(np.concatenate([keys, drawn]))
    users, items = np.divmod(rng.permutation(keys)[: size.pairs], size.items)
    return csr_array((np.ones(size.pairs), (users, items)), shape=(size.users, size.items))


def products(graph: Bipartite, narrow: Bipartite, *, gather: bool) -> dict[str, Multiply]:
    """Users' and items' vectors to the weighted sum of each user's items."""
    from torch_geometric import EdgeIndex

    shape = (graph.num_users, graph.num_items)
    row, column, weights = graph.edge_users, graph.edge_items, graph.weights
    index = torch.stack([row, column])
    coo = torch.sparse_coo_tensor(index, weights, shape, is_coalesced=True, check_invariants=False)
    edges = EdgeIndex(index, sparse_size=shape, sort_order="row").fill_cache_()
    found: dict[str, Multiply] = {
        OURS["torch"]: forced("torch", lambda _, x: spmm(graph.to_users, x)),
        "torch, CSR int32": forced("torch", lambda _, x: spmm(narrow.to_users, x)),
        "torch, COO": lambda _, x: torch.sparse.mm(coo, x),
        "PyG EdgeIndex": lambda _, x: edges.matmul(x, input_value=weights),
    }
    if torch_sparse_trouble() is None:
        found[OURS["torch-sparse"]] = forced("torch-sparse", lambda _, x: spmm(graph.to_users, x))
    if gather:
        found["gather and scatter"] = lambda u, x: torch.zeros_like(u).index_add(
            0, row, x[column] * weights[:, None]
        )
    return found


def attentions(graph: Bipartite, narrow: Bipartite, *, gather: bool) -> dict[str, Multiply]:
    """The same with weights that come from the vectors; COO and EdgeIndex have no such product."""
    row, column = graph.edge_users, graph.edge_items

    def kernels(of: Bipartite) -> Multiply:
        def attend(users: Tensor, items: Tensor) -> Tensor:
            shares = edge_softmax(of.to_users, sddmm(of.to_users, users, items))
            return spmm(of.to_users, items, shares)

        return attend

    def gathered(users: Tensor, items: Tensor) -> Tensor:
        messages = items[column]
        scores = (users[row] * messages).sum(-1)
        largest = scores.new_full((len(users),), -torch.inf)
        shares = (scores - largest.scatter_reduce(0, row, scores, "amax")[row]).exp()
        total = scores.new_zeros(len(users)).index_add(0, row, shares)
        return torch.zeros_like(users).index_add(0, row, (shares / total[row])[:, None] * messages)

    found = {
        OURS["torch"]: forced("torch", kernels(graph)),
        "torch, CSR int32": forced("torch", kernels(narrow)),
    }
    if torch_sparse_trouble() is None:
        found[OURS["torch-sparse"]] = forced("torch-sparse", kernels(graph))
    return found | ({"gather and scatter": gathered} if gather else {})


def forced(name: str, multiply: Multiply) -> Multiply:
    def run(users: Tensor, items: Tensor) -> Tensor:
        with use_backend(name):
            return multiply(users, items)

    return run


def check_equal(ways: dict[str, Multiply], users: Tensor, items: Tensor) -> None:
    """All ways give what the first gives, and the same gradients."""
    expected: list[Tensor] = []
    for way, multiply in ways.items():
        out = multiply(users, items)
        gradients = torch.autograd.grad(out.square().sum(), (users, items), allow_unused=True)
        found = [x.detach() for x in (out, *gradients) if x is not None]
        expected = expected or found
        for a, b in zip(found, expected, strict=True):
            scale = float(b.abs().max())
            torch.testing.assert_close(
                a, b, rtol=1e-3, atol=1e-5 * scale, msg=lambda m, way=way: f"{way}: {m}"
            )


def measure(ways: dict[str, Multiply], users: Tensor, items: Tensor, repeats: int) -> list[dict]:
    """Seconds of each way forward, and forward and backward."""
    random.seed(0)
    wait = torch.cuda.synchronize if users.is_cuda else lambda: None
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
    for n in tqdm(range(repeats + 2), leave=False):
        # Not in turn: what follows the largest would find the caches empty every time.
        order = random.sample([*ways], len(ways))
        for way in order:
            wait()
            start = time.perf_counter()
            out = ways[way](users, items)
            wait()
            middle = time.perf_counter()
            torch.autograd.grad(out, (users, items), torch.ones_like(out), allow_unused=True)
            wait()
            if n >= 2:  # the first two warm up
                times[way].append((middle - start, time.perf_counter() - start))
    rows = []
    for way, seconds in times.items():
        forward, both = ([s[k] for s in seconds] for k in (0, 1))
        low, _, high = statistics.quantiles(both, n=4)
        rows.append(
            {
                "way": way,
                "forward": statistics.median(forward),
                "both": statistics.median(both),
                "quartiles": [low, high],
            }
        )
    return rows


def fits(device: torch.device, size: Size) -> bool:
    """Whether six tensors of edges by width do, which is what gathering takes with its gradient."""
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 6 * 4 * size.pairs * size.width < free


def compare(size: Size, device: torch.device, repeats: int) -> list[dict]:
    """Rows of both problems at one size, the fastest and auto's choice marked."""
    pairs = interactions(size)
    graph, narrow = (
        Bipartite(pairs, index_dtype=dtype).to(device) for dtype in (torch.int64, torch.int32)
    )
    generator = torch.Generator().manual_seed(0)
    users, items = (
        (torch.randn(n, size.width, generator=generator) / size.width**0.5).to(device)
        for n in (size.users, size.items)
    )
    users, items = users.requires_grad_(), items.requires_grad_()
    rows = []
    # Of torch and PyG, of the first CSR tensor: that it is in beta, and not checked.
    warnings.filterwarnings("ignore", message="Sparse (CSR tensor support|invariant checks)")
    for problem, make in (("product", products), ("attention", attentions)):
        ways = make(graph, narrow, gather=fits(device, size))
        check_equal(ways, users, items)
        found = measure(ways, users, items, repeats)
        fastest = min(found, key=lambda row: row["both"])["way"]
        with use_backend("auto"):
            chosen = OURS[backend().name]
        for row in found:
            marks = {"auto": row["way"] == chosen, "fastest": row["way"] == fastest}
            rows.append({"problem": problem, **size._asdict(), **row, **marks})
    return rows


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels")
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--full", action="store_true", help="a million nodes too: 20 GB, minutes")
    parser.add_argument("--size", type=int, nargs=3, help="users, items and pairs instead")
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    on = torch.cuda.get_device_name(args.device) if args.device.type == "cuda" else "CPU"
    print(f"torch {torch.__version__}, {on}, {args.threads} threads, medians of {args.repeats}\n")
    sizes = [Size(*args.size)] if args.size else [OFFICE, *([LARGE] if args.full else [])]
    rows = []
    for size in sizes:
        print(
            f"{size.users:,} users, {size.items:,} items, {size.pairs:,} pairs, {size.width} wide"
        )
        for row in compare(size, args.device, args.repeats):
            rows.append(row)
            low, high = row["quartiles"]
            marks = " auto" * row["auto"] + " fastest" * row["fastest"]
            print(
                f"{row['problem']:>10} {row['way']:<20}{1e3 * row['forward']:>11.2f} ms forward"
                f"{1e3 * row['both']:>11.2f} ms with backward ({1e3 * low:.2f}-{1e3 * high:.2f})"
                f"{marks}",
                flush=True,
            )
    if args.out:
        about = {"torch": torch.__version__, "device": on, "threads": args.threads}
        about |= {"machine": f"{platform.machine()} x{os.cpu_count()}"}
        args.out.write_text(json.dumps(about | {"rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
