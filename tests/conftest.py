"""Fixtures every test may use."""

import gc
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

# Small tensors gain nothing from a second thread.
torch.set_num_threads(1)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder that holds office/, ml1m/, ...: real data, never in the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    path = Path(os.environ.get("SGFD_DATA", beside))
    if not path.is_dir():
        pytest.skip(f"no real datasets: SGFD_DATA is not set and {beside} does not exist")
    return path


@pytest.fixture
def process_group(tmp_path: Path) -> Iterator[None]:
    """A Gloo group of this process alone; what uses it must end with the test."""
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{tmp_path}/ddp", rank=0, world_size=1
    )
    yield
    # Gloo's thread needs the GIL to let go of the last reduction; a group whose last holder dies
    # before that waits for the thread with the GIL in hand, and both wait for ever.
    gc.collect()
    time.sleep(0.2)
    torch.distributed.destroy_process_group()
