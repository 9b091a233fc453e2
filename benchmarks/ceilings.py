"""What the machine does at best: dense products, copying, gathering rows.

    python -m benchmarks.ceilings [--threads 2] [--device cuda]

The best of several repeats after one that warms up, in float32. Bytes are those read and those
written; the tables are larger than a CPU's caches.
"""

import argparse
from typing import NamedTuple

import torch

from .timing import fastest

# Multiplied (n, m) @ (m, k): squares, and the shapes of features through a layer.
SHAPES = ((1024, 1024, 1024), (2048, 2048, 2048), (4096, 4096, 1024), (2048, 4096, 2048))
TABLE_BYTES = 2**29
WIDTH = 128  # of a gathered row, 512 bytes


class Ceilings(NamedTuple):
    """Per second: FLOP of a dense product, bytes read and written by a copy and by a gather."""

    product: float
    copy: float
    gather: float


def measure(
    *, device: torch.device | str = "cpu", table_bytes: int = TABLE_BYTES, repeats: int = 10
) -> Ceilings:
    """Measures the ceilings with the threads that torch has."""
    device = torch.device(device)
    best = 0.0
    for n, m, k in SHAPES:
        a, b = torch.randn(n, m, device=device), torch.randn(m, k, device=device)
        out = torch.empty(n, k, device=device)
        seconds = fastest(lambda a=a, b=b, out=out: torch.mm(a, b, out=out), repeats, device)
        best = max(best, 2 * n * m * k / seconds)
    table = torch.randn(table_bytes // (4 * WIDTH), WIDTH, device=device)
    other = torch.empty_like(table)
    copying = fastest(lambda: other.copy_(table), repeats, device)
    rows = torch.randint(0, len(table), (len(table) // 4,), device=device)
    some = other[: len(rows)]
    gathering = fastest(lambda: torch.index_select(table, 0, rows, out=some), repeats, device)
    moved = 2 * table.numel() * table.element_size()
    return Ceilings(best, moved / copying, moved / 4 / gathering)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    found = measure(device=args.device)
    print(
        f"dense product {found.product / 1e9:.0f} GFLOP/s, copy {found.copy / 1e9:.1f} GB/s, "
        f"row gather {found.gather / 1e9:.1f} GB/s"
    )


if __name__ == "__main__":
    main()
