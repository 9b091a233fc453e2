"""Initial parameters by a seed, leaving torch's global generator as it was."""

from collections.abc import Iterator
from contextlib import contextmanager
from zlib import crc32

import torch

from sgfd._checks import check_integer


@contextmanager
def seeded(seed: int, *, stream: int = 0) -> Iterator[None]:
    """Draw from torch's CPU generator as if ``seed`` had been set; then put its state back.

    Each ``stream`` of a seed gives numbers of its own: two models made with the same seed, one
    inside the other, must not start alike.

    Raises:
        ValueError: if the seed is no integer, or negative.
    """
    seed = check_integer("seed", seed, at_least=0, below=2**63)  # torch takes no int of NumPy's
    with torch.random.fork_rng(devices=[]):
        # Not torch.manual_seed, which would reseed the accelerators too.
        # A stream is mixed in by a hash, since the CPU's generator keeps only the lowest 32 bits.
        mixed = crc32(f"{seed}, stream {stream}".encode()) if stream else seed
        torch.default_generator.manual_seed(mixed)
        yield
