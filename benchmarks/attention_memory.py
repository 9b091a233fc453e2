"""Memory of attention over the edges of a graph: O(E + N D) by the kernels, O(E D) by gathering.

    python -m benchmarks.attention_memory [--edges 2000000] [--out attention.json]

Forward and backward of one attention (a score per edge, softmax, weighted sum) over a random graph
of E edges and N = E / 20 nodes on each side, at growing width D. Each measurement is the peak of a
process of its own, less that of one which makes only the inputs. Both ways are compared first.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor
from tqdm import tqdm

from sgfd.graph import Bipartite, edge_softmax, sddmm, spmm, use_backend

from .memory import peak_of

WAYS = ("inputs", "torch", "torch-sparse", "gathered")


def graph(edges: int) -> Bipartite:
    nodes = max(2, edges // 20)
    rng = np.random.default_rng(0)
    keys = np.unique(rng.integers(0, nodes * nodes, int(1.01 * edges)))[:edges]
    users, items = np.divmod(keys, nodes)
    return Bipartite(csr_array((np.ones(len(keys)), (users, items)), shape=(nodes, nodes)))


def inputs(graph: Bipartite, width: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    users, items = (
        torch.randn(n, width, generator=generator) / width**0.5
        for n in (graph.num_users, graph.num_items)
    )
    return users.requires_grad_(), items.requires_grad_()


def kernels(graph: Bipartite, users: Tensor, items: Tensor) -> Tensor:
    attention = edge_softmax(graph.to_users, sddmm(graph.to_users, users, items))
    return spmm(graph.to_users, items, attention)


def gathered(graph: Bipartite, users: Tensor, items: Tensor) -> Tensor:
    """Messages as a tensor of edges by width."""
    row, column = graph.edge_users, graph.edge_items
    messages = items[column]
    scores = (users[row] * messages).sum(-1)
    largest = torch.full((graph.num_users,), -torch.inf).scatter_reduce(0, row, scores, "amax")
    shares = (scores - largest[row]).exp()
    total = torch.zeros(graph.num_users).index_add(0, row, shares)
    weighted = (shares / total[row])[:, None] * messages
    return torch.zeros_like(users).index_add(0, row, weighted)


def run(way: str, edges: int, width: int) -> None:
    """One forward and backward."""
    adjacency = graph(edges)
    users, items = inputs(adjacency, width)
    if way == "gathered":
        gathered(adjacency, users, items).sum().backward()
    elif way != "inputs":
        with use_backend(way):
            kernels(adjacency, users, items).sum().backward()


def check_equal() -> None:
    adjacency = graph(1000)
    users, items = inputs(adjacency, 8)
    found = []
    for attend in (kernels, gathered):
        out = attend(adjacency, users, items)
        found.append((out, *torch.autograd.grad(out.square().sum(), (users, items))))
    torch.testing.assert_close(*found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edges", type=int, default=2_000_000)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--ways", nargs="+", choices=WAYS[1:], default=["torch", "gathered"])
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    check_equal()
    rows = []
    print(f"{args.edges:,} edges, {args.edges // 20:,} nodes on each side; MB above the inputs")
    print(("{:>14}" * (len(args.ways) + 2)).format("width", "E x D x 4 B", *args.ways))
    for width in tqdm(args.widths, leave=False):
        peaks = {w: peak_of(run, w, args.edges, width) for w in ("inputs", *args.ways)}
        above = {way: peaks[way] - peaks["inputs"] for way in args.ways}
        size = args.edges * width * 4 / 2**20
        rows.append({"edges": args.edges, "width": width, "edges_by_width_mb": size, **above})
        print(("{:>14}" + "{:>14.0f}" * (len(args.ways) + 1)).format(width, size, *above.values()))
    if args.out:
        args.out.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
