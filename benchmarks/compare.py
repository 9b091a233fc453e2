"""One computation of ours beside the straightforward way: checked, timed, counted."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from .cases import Sizes
from .ceilings import Ceilings
from .counting import Work, count
from .memory import peak_of
from .ranking import rank
from .sampling import sample
from .subject import Case, Subject
from .timing import Spread, alternate, spread
from .training import step

WAYS = ("ours", "straightforward")
MAKERS: dict[str, Callable[[Case, Sizes], Subject]] = {
    "step": step,
    "ranking": rank,
    "sampling": sample,
}
# At least so many times faster, on a CPU; of sampling, the largest share of a step.
AIMS = {
    Case("step", "bm3", "distilled", "release"): 4.0,
    Case("step", "bm3", "distilled", "default"): 1.8,
    Case("step", "grcn", "distilled", "release"): 6.0,
    Case("step", "maml", "distilled", "release"): 4.0,
    Case("ranking", "vbpr"): 10.0,
    Case("ranking", "bm3"): 10.0,
    Case("ranking", "grcn"): 10.0,
    Case("ranking", "maml"): 50.0,
}
AIMED_SHARE_OF_STEP = 0.02


class Measured(NamedTuple):
    """One way.

    Attributes:
        seconds: median and quartiles.
        peak_mb: of a process with torch and the data in it; None if not measured.
        work: what was counted; None where NumPy or Python do the work.
    """

    seconds: Spread
    peak_mb: float | None
    work: Work | None

    def share_of(self, ceilings: Ceilings) -> float | None:
        """The seconds that the work takes at the ceilings, over the seconds that it took."""
        return None if self.work is None else self.work.seconds_at(ceilings) / self.seconds.median


class Row(NamedTuple):
    """Both ways.

    Attributes:
        case: what was computed.
        ours: this library.
        straightforward: the yardstick.
        ratio: of the yardstick's seconds to ours, pair by pair as they alternated.
        aim: the ratio aimed at, None for none.
        share_of_step: of sampling, of the shortest step of that backbone in this run.
    """

    case: Case
    ours: Measured
    straightforward: Measured
    ratio: Spread
    aim: float | None
    share_of_step: float | None = None


def compare(case: Case, sizes: Sizes, *, repeats: int, memory: bool, progress: bool) -> Row:
    """Raises AssertionError before anything is timed if both ways do not give the same."""
    subject = MAKERS[case.part](case, sizes)
    subject.check()
    calls = {way: getattr(subject, way) for way in WAYS}
    times = {way: getattr(subject, f"{way}_times") for way in WAYS}
    said = " ".join(case) if progress else None
    warmup = 2 if case.part == "step" else 1
    found = alternate(calls, repeats=repeats, warmup=warmup, said=said)
    seconds = {way: [times[way] * s for s in found[way]] for way in WAYS}
    ratios = [b / a for a, b in zip(*(seconds[way] for way in WAYS), strict=True)]
    measured = {}
    for way, call in calls.items():
        peak = peak_of(run, case, sizes, way, torch.get_num_threads()) if memory else None
        work = None
        if case.part != "sampling":
            work = Work(*(times[way] * amount for amount in count(call)))
        measured[way] = Measured(spread(seconds[way]), peak, work)
    aim = AIMS.get(case._replace(kernels="torch"))
    return Row(case, **measured, ratio=spread(ratios), aim=aim)


def run(case: Case, sizes: Sizes, way: str, threads: int) -> None:
    """What a process of its own does whose memory is measured: three steps, or one ranking."""
    torch.set_num_threads(threads)
    call = getattr(MAKERS[case.part](case, sizes), way)
    for _ in range(3 if case.part == "step" else 1):
        call()


def with_share_of_step(rows: list[Row]) -> list[Row]:
    """Sampling beside the shortest step of its backbone."""
    steps: dict[str, list[float]] = {}
    for row in rows:
        if row.case.part == "step":
            steps.setdefault(row.case.backbone, []).append(row.ours.seconds.median)
    return [
        row._replace(share_of_step=row.ours.seconds.median / min(steps[row.case.backbone]))
        if row.case.part == "sampling" and row.case.backbone in steps
        else row
        for row in rows
    ]
