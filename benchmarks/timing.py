"""Seconds of calls, alternately, so that what else the machine does meets all of them."""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from tqdm import tqdm


class Spread(NamedTuple):
    """A median with its quartiles."""

    median: float
    low: float
    high: float


def spread(values: Sequence[float]) -> Spread:
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return Spread(middle, low, high)


def timed(call: Callable[[], object], device: torch.device | None = None) -> float:
    """Seconds of a call, until the device is done with it; None is the CPU."""
    _synchronize(device)
    start = time.perf_counter()
    call()
    _synchronize(device)
    return time.perf_counter() - start


def fastest(call: Callable[[], object], repeats: int, device: torch.device | None = None) -> float:
    """The shortest seconds of a call, after one that is not counted."""
    timed(call, device)
    return min(timed(call, device) for _ in range(repeats))


def alternate(
    calls: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    warmup: int,
    said: str | None = None,
) -> dict[str, list[float]]:
    """Seconds of every call of each, in turn; ``said`` stands before a progress bar."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for n in tqdm(range(warmup + repeats), desc=said, leave=False, disable=said is None):
        for name, call in calls.items():
            spent = timed(call)
            if n >= warmup:
                seconds[name].append(spent)
    return seconds


def _synchronize(device: torch.device | None) -> None:
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize(device)
