"""The study, command by command.

    export SGFD_DATA=DIR              (holds office/, toys/, ml1m/, tiktok/)
    python -m benchmarks.study measure --data office            (an epoch's seconds, a plan)
    python -m benchmarks.study tune   --data office --backbone vbpr --arm plain ours
    python -m benchmarks.study run    --data office --backbone vbpr
    python -m benchmarks.study status
    python -m benchmarks.study test   --data office --backbone vbpr   (configurations committed)
    python -m benchmarks.study why    --data office --backbone vbpr   (accuracies, gradients)
    python -m benchmarks.study try    --data office --backbone vbpr   (what else might help)
    python -m benchmarks.study popularity --data office --backbone grcn   (is it more than a count?)
    python -m benchmarks.study report

Every command may be killed and given again, and several processes may share the work. The backbone
"none" has the yardsticks. Without --data or --backbone: all; without --arm or --seed: those of the
cell (grid.py), in `test` less those that are for the validation part.
"""

import argparse
import gc
import os
import time
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import torch

from .arms import ARMS, OF_BM3, YARDSTICKS, arms_of
from .confirm import read_test
from .grid import (
    BACKBONES,
    DATA,
    EXPLORERS,
    FAMILIES,
    FOR_VALIDATION,
    GRID,
    PRIMARY,
    Places,
    Run,
    effort,
)
from .machine import checkout
from .measure import MEASURED, measure, plan
from .progress import count, grid, show
from .store import Row
from .train import run_once
from .tune import tune, tuned


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "command",
        choices=["measure", "tune", "run", "status", "test", "why", "try", "popularity", "report"],
    )
    add = parser.add_argument
    add("--data", nargs="+", choices=list(DATA), default=list(GRID))
    add("--backbone", nargs="+", choices=[*BACKBONES, "none"], default=[*BACKBONES, "none"])
    add("--arm", nargs="+", choices=[*ARMS, *OF_BM3, *YARDSTICKS])
    add("--seed", nargs="+", type=int)
    add("--trials", type=int, help="of every arm, for the cell's number")
    add("--minutes", type=float, help="begin nothing after so long; what is begun is finished")
    add("--part", choices=["validation", "test"], default="validation", help="to report")
    add("--what", nargs="+", help="to try, by name; everything by default")
    add("--threads", type=int, default=1, help="other numbers may give other sums")
    add("--root", type=Path, default=os.environ.get("SGFD_DATA"), help="the datasets")
    add("--results", type=Path, default=Path(__file__).parent / "results")
    add(
        "--scratch",
        type=Path,
        default=Path(__file__).parents[2] / "runs/study",
        help="checkpoints and locks",
    )
    args = parser.parse_args()
    if args.root is None and args.command not in ("status", "report"):
        parser.error("say where the datasets are: --root or SGFD_DATA")
    return args


def main() -> None:
    """Does what was asked."""
    args = arguments()
    torch.set_num_threads(args.threads)
    checkout()  # before files change
    places = Places(args.root, args.results, args.scratch)
    runs = list(grid(args.data, args.backbone, args.arm, args.seed))
    end = float("inf") if args.minutes is None else time.monotonic() + 60 * args.minutes
    if args.command == "measure":
        for run in runs:
            if run.arm in MEASURED and run.seed == effort(run.data, run.backbone).seeds[0]:
                measure(run, places)
        print(plan(list(grid(GRID, BACKBONES)), places, trials=args.trials))
    elif args.command == "tune":
        tune_all(runs, places, args.trials, end)
    elif args.command == "run":
        run_all(runs, places, end)
    elif args.command == "status":
        print(show(count(runs, places, trials=args.trials)))
    elif args.command == "test":
        runs = [run for run in runs if args.arm or run.arm not in FOR_VALIDATION]
        for _, cell in groupby(runs, key=lambda run: run[:2]):
            for row in read_test(list(cell), places):
                say(row, "test")
    elif args.command == "why":
        explain(runs, places)
    elif args.command == "try":
        from .tries import try_all

        for cell in dict.fromkeys(run[:2] for run in runs if run.backbone != "none"):
            arms = {run.arm for run in runs}
            for row in try_all(*cell, places, arms=arms, what=args.what):
                print(*cell, row["student"], row["what"], row[PRIMARY], flush=True)
    elif args.command == "popularity":
        from . import added

        looked_at = [run for run in runs if args.arm or run.arm in added.ARMS]
        for row in added.add_popularity(looked_at, places):
            say(row, added.PART)
    else:
        write_report(runs, places, args.part)


def tune_all(runs: Sequence[Run], places: Places, trials: int | None, end: float) -> None:
    cells = dict.fromkeys(run[:3] for run in runs)
    explorers = [cell for cell in cells if cell[2] in EXPLORERS]
    # What others start from comes first, twice: in the end the explorers try each other's best.
    for cell in [*explorers, *explorers, *(cell for cell in cells if cell not in explorers)]:
        if arms_of(cell[1])[cell[2]].tuned_as is None:
            for row in tune(Run(*cell, 0), places, trials=trials):
                say(row, "validation")
                gc.collect()  # trainers are cycles that hold a run's tensors
                if time.monotonic() > end:
                    return


def run_all(runs: Sequence[Run], places: Places, end: float) -> None:
    for run in runs:
        if time.monotonic() > end:
            return
        params = tuned(run, places)
        if params is None:
            print(f"{run.name}: not tuned yet, passed over", flush=True)
            continue
        try:
            row = run_once(run, params, places)
        except FloatingPointError as error:  # the others go on; it stays to be done
            print(f"{run.name}: {error}", flush=True)
            continue
        if row:
            say(row, "validation")
        gc.collect()


def explain(runs: Sequence[Run], places: Places) -> None:
    """Looks at the first seed of every arm with a teacher that is done here, and draws its maps."""
    from .maps import draw_maps
    from .why import why

    for run in runs:
        is_first = run.seed == effort(run.data, run.backbone).seeds[0]
        if is_first and run.backbone != "none" and (row := why(run, places)):
            print(run.name, row["gradients"], flush=True)
            if run.arm == "ours":
                draw_maps(run, places)


def write_report(runs: Sequence[Run], places: Places, part: str) -> None:
    """Tables beside the results, and pictures."""
    from .effects import effects, finished
    from .pictures import curves, distances, gains
    from .report import report

    done = finished(runs, places, part)
    found = [effects(done, places, part, (b, a)) for b, a in FAMILIES]
    (places.results / f"{part}.md").write_text(report(runs, places, part, found=found))
    families = {f"{b} against {a}": e for (b, a), e in zip(FAMILIES, found, strict=True)}
    gains(families, places.results / f"gains_{part}.png")
    if part == "validation":
        for cell in dict.fromkeys(run[:2] for run in done if run.backbone != "none"):
            curves(done, cell, places.results / f"curves_{'_'.join(cell)}.png")
            distances(done, cell, places.results / f"terms_{'_'.join(cell)}.png")
    print(places.results / f"{part}.md")


def say(row: Row, part: str) -> None:
    """One line of a row."""
    name = " ".join(str(row[field]) for field in Run._fields)
    trial = f" trial {row['trial']}" if "trial" in row else ""
    seconds = f", {row['seconds']:.0f} s" if "seconds" in row else ""
    print(f"{name}{trial}: {part} {PRIMARY} {row[part][PRIMARY]:.4f}{seconds}", flush=True)


if __name__ == "__main__":
    main()
