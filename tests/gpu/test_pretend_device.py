"""What can be known of a GPU without one: no two devices are mixed, and what is waited for."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch.utils.backend_registration
from gpu.steps import CASES

TESTS = Path(__file__).parents[1]
# How many items are distinct decides sizes; whether two sets of them are one, what is read twice.
WAITS = {
    "VBPR": {"_unique2": 1},
    "VBPR distilled": {"_unique2": 2, "equal": 2},
    "VBPR distilled with gaps": {"_unique2": 2, "equal": 2},
    "BM3": {"_unique2": 2},
    "BM3 distilled": {"_unique2": 3, "equal": 2},
    "GRCN": {},
    "GRCN distilled": {"_unique2": 1},
    "MAML": {"_unique2": 2},
    "MAML distilled": {"_unique2": 3, "equal": 2},
}


@pytest.fixture(scope="module")
def seen():
    """Of a process of its own, since a device stays as long as the process."""
    if not hasattr(torch.utils.backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this torch has no devices made in Python")
    environment = os.environ | {"PYTHONPATH": str(TESTS), "SGFD_BACKEND": "torch"}
    command = [sys.executable, "-W", "error", str(TESTS / "pretend_device.py")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return {row["case"]: row for row in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_on_another_device_gives_the_same_loss_and_gradients(seen, case):
    assert seen[str(case)]["equal"]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_step_waits_for_the_number_of_distinct_items_and_little_else(seen, case):
    assert seen[str(case)]["waits"] == WAITS[str(case)]


def test_the_pretend_device_notices_both(seen):
    assert "tensors of two devices" in seen["two devices"]["error"]
    expected = {"_local_scalar_dense": 1, "index by a mask": 1, "to the CPU": 1}
    assert seen["waiting"]["waits"] == expected
