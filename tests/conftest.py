"""Fixtures every test may use."""

import os
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
