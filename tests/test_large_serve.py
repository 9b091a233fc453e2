"""The benchmark of serving large catalogs, tiny: it runs, and its report adds up."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "large_serve.py"


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="reads Linux's /proc")
def test_it_reports_export_and_ranking_of_a_tiny_catalog(tmp_path):
    out = tmp_path / "serve.json"
    sizes = ["--items", "300", "--users", "120", "--pairs", "2000", "--ranked", "50", "--k", "7"]
    command = [sys.executable, SCRIPT, "--folder", tmp_path, *sizes, "--threads", "1", "--out", out]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr

    report = json.loads(out.read_text())
    assert json.loads(done.stdout) == report
    export, rank = report["export"], report["rank"]
    assert export["GB read"] == pytest.approx(300 * (4096 + 384) * 2 / 1e9)
    assert export["GB written"] == pytest.approx((2 * 300 * 64 * 4 + 2 * 128) / 1e9)
    assert "GB/s, exported from disk" not in export  # the page cache was left alone
    assert export["GB/s, exported from the page cache"] > 0
    assert rank["users"] == 50
    assert rank["width of the vectors"] == 3 * 64 + 1
    # A product and an addition for each number of a user's vector and an item's.
    flop = 2 * 193 * 300 * rank["users per second"]
    assert rank["GFLOP/s"] == pytest.approx(flop / 1e9)
    for part in (export, rank):
        assert 0.05 < part["anonymous GB, peak"] < 3
    names = {"catalog.json", "image.npy", "text.npy", "labels.npy", "users.npy", "items.npy"}
    assert {path.name for path in tmp_path.iterdir()} == names | {"serve.json"}
