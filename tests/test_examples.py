"""The examples that are not run elsewhere, on made-up data."""

import os
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parent.parent / "examples"


def run(script, *arguments, cwd):
    command = [sys.executable, EXAMPLES / script, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_cold_start_ranks_items_held_out(tmp_path):
    said = run("cold_start.py", "--epochs", 2, "--out", tmp_path / "out", cwd=tmp_path)
    for text in (
        "cold: 160 of 800 items held out altogether",
        "New items among themselves (160)",
        "| metric       | chance |  plain | distilled |",
        "New items among all",
        "distilled against plain: ndcg@20",
    ):
        assert text in said
    assert (tmp_path / "out" / "results.json").exists()
