"""Initial parameters by a seed, leaving torch's global generator as it was."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def seeded(seed: int, *, stream: int = 0) -> Iterator[None]:
    """Draw from torch's CPU generator as if ``seed`` had been set; then put its state back.

    Each ``stream`` of a seed gives numbers of its own: two models made with the same seed, one
    inside the other, must not start alike.
    """
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the accelerators too.
        torch.default_generator.manual_seed(seed + (stream << 40))
        yield
