"""What a process ever held in memory."""

import multiprocessing
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any


def peak_mb() -> float:
    """The largest resident size of this process so far (Linux).

    Not ``getrusage``, whose value a process takes over from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found is not None
    return int(found.group(1)) / 1024


def peak_of(call: Callable[..., object], *args: Any) -> float:
    """``peak_mb`` of a process of its own that makes one call; call and arguments are pickled.

    It is forked from one that has done no more than import what the call needs, so that it holds
    nothing of what is in this one.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([call.__module__])
    with context.Pool(1) as pool:
        return pool.apply(_called, (call, args))


def _called(call: Callable[..., object], args: tuple[Any, ...]) -> float:
    call(*args)
    return peak_mb()
