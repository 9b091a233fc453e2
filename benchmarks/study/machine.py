"""What trained a run: its time, the machine, the versions and the commit."""

import contextlib
import hashlib
import os
import platform
import subprocess
import time
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from lightning import Callback
from torch import nn

from .store import Row

PACKAGES = ("sgfd", "torch", "torch-geometric", "numpy", "scipy", "lightning", "optuna")


class Clock(Callback):
    """Seconds of training; in the checkpoint, so that those before a kill count."""

    def __init__(self) -> None:
        self.before = {"seconds": 0.0, "cpu_seconds": 0.0}
        self.start = self._now()

    def state_dict(self) -> dict[str, Any]:
        return self.spent()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.before = dict(state_dict)

    def spent(self) -> dict[str, float]:
        now = self._now()
        return {name: self.before[name] + now[name] - self.start[name] for name in now}

    def _now(self) -> dict[str, float]:
        return {"seconds": time.perf_counter(), "cpu_seconds": time.process_time()}


def surroundings(model: Any) -> Row:
    """Versions, commit and machine."""
    return {
        "versions": {name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        **checkout(),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {torch.get_num_threads()} used",
        "device": str(device_of(model)),
    }


@cache
def checkout() -> Row:
    """What is running; asked first when a process starts, since files may change under it."""
    changed = bool(git("status", "--porcelain", "--", "src"))
    return {"commit": git("rev-parse", "HEAD"), "changed": changed, "program": program()}


def program() -> str:
    """A digest of the study's files that numbers depend on."""
    names = ("arms", "baselines", "grid", "inputs", "models", "space", "train", "tune")
    files = [Path(__file__).with_name(f"{name}.py") for name in names]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]


def git(*arguments: str, at: Path = Path(__file__).parent) -> str:
    """What git says about this checkout, or nothing outside of one."""
    top = ["git", "-C", str(at)]
    found = subprocess.run([*top, "rev-parse", "--show-toplevel"], capture_output=True, text=True)
    if found.returncode:
        return ""
    command = ["git", "-C", found.stdout.strip(), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def device_of(model: Any) -> torch.device:
    """Where a model's parameters are; the CPU for what has none."""
    return next(model.parameters()).device if isinstance(model, nn.Module) else torch.device("cpu")


def forget_peak() -> None:
    """Starts the peak anew, where the system lets a process do so (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
