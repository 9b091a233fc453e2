"""Every comparison with the straightforward way, in one run.

    python -m benchmarks.bench [--full] [--backbones bm3 ...] [--parts step ...] [--out runs/bench]

Times, memory and work of each backbone's training step (plain and distilled, with the release's
mathematics and by default), of ranking every item for the test users, and of drawing the batches.
The yardsticks give the same values, which is checked first. Writes ``bench.json``, ``bench.md`` and
``bench.png``. On a quiet machine: ratios stand noise, as both ways alternate, seconds do not.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import torch
from tqdm import tqdm

from .cases import KINDS, Sizes
from .ceilings import TABLE_BYTES, Ceilings, measure
from .compare import MAKERS, Row, compare, with_share_of_step
from .operators import operators
from .report import as_json, headline, machine, tables
from .subject import Case


def cases(parts: Sequence[str], backbones: Sequence[str], kernels: Sequence[str]) -> Iterator[Case]:
    """All comparisons; those of a plain backbone for which the preset changes nothing once."""
    for part in parts:
        for name in backbones:
            if part == "ranking" or (part == "sampling" and KINDS[name].negatives):
                yield Case(part, name)
            if part != "step":
                continue
            for arm in ("plain", "distilled"):
                for mathematics in ("release", "default"):
                    if arm == "plain" and mathematics == "release" and name != "grcn":
                        continue
                    for kernel in kernels if name in ("bm3", "grcn") else ["torch"]:
                        yield Case(part, name, arm, mathematics, kernel)


def main(given: Sequence[str] | None = None) -> None:
    args = parse(given)
    torch.set_num_threads(args.threads)
    sizes = Sizes(**{name: getattr(args, name) for name in Sizes._fields})
    kernels = ["torch"]
    if args.full and find_spec("torch_sparse"):
        kernels.append("torch-sparse")
    chosen = list(cases(args.parts, args.backbones, kernels))
    if args.operators:
        for case in chosen:
            print(operators(case, sizes), end="\n\n", flush=True)
        return
    repeats = args.repeats or (21 if args.full else 7)
    before = measure(table_bytes=args.table_bytes)
    rows: list[Row] = []
    for case in tqdm(chosen, desc="comparisons", leave=False):
        row = compare(
            case,
            sizes,
            # A ranking of MAML's takes seconds.
            repeats=3 if case[:2] == ("ranking", "maml") and not args.repeats else repeats,
            memory=not args.no_memory and case.part != "sampling",
            progress=True,
        )
        rows.append(row)
    # What else the machine does may slow one of the two.
    ceilings = Ceilings(*map(max, before, measure(table_bytes=args.table_bytes)))
    rows = with_share_of_step(rows)
    where = machine()
    text = f"{headline(where, ceilings, repeats)}\n\n{tables(rows, ceilings)}\n"
    print(text)
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "bench.md").write_text(text)
    said = {"machine": where, "sizes": sizes._asdict(), "ceilings": ceilings._asdict()}
    said |= {"repeats": repeats, "rows": as_json(rows, ceilings)}
    (args.out / "bench.json").write_text(json.dumps(said, indent=2) + "\n")
    if find_spec("matplotlib"):
        from .drawing import draw

        draw(rows, args.out / "bench.png")
    print(f"Written to {args.out}.")


def parse(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="21 repeats, torch-sparse too")
    parser.add_argument("--backbones", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--parts", nargs="+", choices=MAKERS, default=list(MAKERS))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, help="instead of 7 (MAML's ranking: 3)")
    parser.add_argument("--no-memory", action="store_true", help="leave out peak memory")
    parser.add_argument("--operators", action="store_true", help="only print where the time goes")
    parser.add_argument("--out", type=Path, default=Path("runs/bench"))
    for name, size in Sizes()._asdict().items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--table-bytes", type=int, default=TABLE_BYTES, help=argparse.SUPPRESS)
    return parser.parse_args(given)


if __name__ == "__main__":
    main()
