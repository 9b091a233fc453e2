"""examples/export_and_search.py, on little."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sgfd.export import load_index, load_vectors

SCRIPT = Path(__file__).parents[2] / "examples" / "export_and_search.py"


def run(*arguments, folder):
    done = subprocess.run(
        [sys.executable, SCRIPT, "--out", folder / "out", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_example_exports_searches_and_compares(tmp_path):
    said = run("--epochs", 2, "--show", 3, folder=tmp_path)
    assert "users against items: 100.00% of recommend(k=20)" in said
    differences = re.findall(r"(\w+)\.onnx: differs .* at most (\S+)", said)
    assert [m for m, _ in differences] == ["image", "text"]
    assert all(float(x) < 1e-5 for _, x in differences)
    rows = re.findall(r"^ +\d+ +\d+  (?:\d+ ){5} *(?:\d+ ){4}\d+ *$", said, re.M)
    assert len(rows) == 3
    assert re.findall(r"^(plain|distilled): \d+\.\d%$", said, re.M) == ["plain", "distilled"]
    saved = load_vectors(tmp_path / "out" / "distilled")
    assert saved.users.shape == (1500, 193)
    assert load_index(tmp_path / "out" / "distilled" / "like.faiss").ntotal == 800


@pytest.mark.data
def test_the_example_takes_real_data(data_dir, tmp_path):
    said = run("--data", data_dir / "office", "--epochs", 1, folder=tmp_path)
    share = float(re.search(r"users against items: (\S+)% of", said)[1])
    assert share > 99  # scores that are equal up to rounding may change places
    assert "  item  hidden label  plain           distilled" in said
