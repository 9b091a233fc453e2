"""Time and memory of distilled models against the sizes of the catalog, one at a time.

    python -m benchmarks.growth [--full] [--out runs/growth] [--tasks vbpr ...] [--axes pairs ...]

Every point is a process of its own, whose result is a line of ``points.jsonl``: a run that was
stopped goes on where it stopped. ``growth.json`` and ``growth.png`` hold the exponents: slopes of
log over log by least squares, over the upper half of an axis.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from benchmarks.growth.points import AXES, EVALUATION, TRAINED, Point, Sizes, grid
from tqdm import tqdm

ROOT = Path(__file__).parents[2]


def key(point: Point, threads: int) -> dict[str, object]:
    """What a line of the file is of."""
    sizes = point.sizes._asdict()
    return {"task": point.task, "axis": point.axis, **sizes, "threads": threads}


def done(path: Path, points: Sequence[Point], threads: int) -> dict[Point, dict[str, float]]:
    """Those of the points that are in the file."""
    lines = path.read_text().splitlines() if path.exists() else []
    stored = [json.loads(line) for line in lines]
    by_key = {json.dumps(row["key"]): row["found"] for row in stored}
    wanted = {json.dumps(key(p, threads)): p for p in points}
    return {p: by_key[k] for k, p in wanted.items() if k in by_key}


def run(points: Sequence[Point], folder: Path, threads: int) -> list[Point]:
    """Measures what is not in the file; those that failed."""
    folder.mkdir(parents=True, exist_ok=True)
    path, failed = folder / "points.jsonl", []
    there = done(path, points, threads)
    for point in tqdm([p for p in points if p not in there], desc="growth"):
        command = [sys.executable, "-m", "benchmarks.growth", "--point", json.dumps(point)]
        command += ["--threads", str(threads)]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        result = subprocess.run(
            command, capture_output=True, text=True, cwd=ROOT, env=environment, check=False
        )
        if result.returncode:
            failed.append(point)
            reason = (result.stderr.strip().splitlines() or [f"exit {result.returncode}"])[-1]
            tqdm.write(f"failed: {point.task}, {point.axis} = {point.value:,}: {reason}")
            continue
        found = json.loads(result.stdout.splitlines()[-1])
        with path.open("a") as file:
            file.write(json.dumps({"key": key(point, threads), "found": found}) + "\n")
    return failed


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth")
    every = [*TRAINED, EVALUATION]
    tasks = [t for t in every if t != "maml"]
    parser.add_argument("--tasks", nargs="+", choices=every, default=tasks)
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--full", action="store_true", help="to 10^7 pairs: hours")
    parser.add_argument("--out", type=Path, default=Path("runs/growth"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--point", help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.point:
        from benchmarks.growth.measure import measure

        torch.set_num_threads(args.threads)
        task, axis, sizes = json.loads(args.point)
        print(json.dumps(measure(Point(task, axis, Sizes(*sizes)))))
        return 0
    from benchmarks.growth.report import figure, rows, table

    points = grid(args.tasks, args.axes, full=args.full)
    failed = run(points, args.out, args.threads)
    found = done(args.out / "points.jsonl", points, args.threads)
    if not found:
        return 1
    about = {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "machine": f"{platform.machine()} x{os.cpu_count()}",
        "threads": args.threads,
    }
    (args.out / "growth.json").write_text(
        json.dumps(about | {"rows": rows(found)}, indent=2) + "\n"
    )
    figure(found, args.out / "growth.png")
    print(table(found))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
