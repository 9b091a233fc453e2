"""The global random generators: seeded for a run, saved, and given back as they were."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def generator_states(device: torch.device) -> dict[str, Any]:
    """The states of Python's, NumPy's, torch's and the device's global generators.

    Args:
        device: whose generator to add, if it is a CUDA or MPS device.

    Returns:
        Plain values and tensors, which ``torch.load(weights_only=True)`` reads back.
    """
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002 (the global one)
    return {
        "python": random.getstate(),
        "numpy": (name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state(device) if device.type == "cuda" else None,
        "mps": torch.mps.get_rng_state() if device.type == "mps" else None,
    }


def set_generator_states(states: dict[str, Any], device: torch.device) -> None:
    """Puts the generators back into the states that ``generator_states`` gave.

    A state of another kind of device than ``device`` is left out: it means nothing there.
    """
    random.setstate(states["python"])
    name, keys, *rest = states["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and states["cuda"] is not None:
        torch.cuda.set_rng_state(states["cuda"], device)
    if device.type == "mps" and states["mps"] is not None:
        torch.mps.set_rng_state(states["mps"])


@contextmanager
def seeded_generators(seed: int, device: torch.device) -> Iterator[None]:
    """Seeds the global generators inside, and puts them back as they were after.

    Args:
        seed: 0 or more, below 2**32.
        device: whose generator to include.
    """
    before = generator_states(device)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    # Not torch.manual_seed: it reseeds the generators of every device, used here or not.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        with torch.cuda.device(device):
            torch.cuda.manual_seed(seed)
    if device.type == "mps":
        torch.mps.manual_seed(seed)
    try:
        yield
    finally:
        set_generator_states(before, device)
