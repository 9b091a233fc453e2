"""The benchmark of large catalogs, tiny: what it makes, keeps and reports."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
SIZES = ["--items", "300", "--users", "120", "--pairs", "2000"]


def run(script, *arguments):
    command = [sys.executable, str(BENCHMARKS / script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def large_catalog(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import large_catalog

    monkeypatch.setattr(large_catalog, "CHUNK", 64)
    monkeypatch.setattr(large_catalog, "WIDTHS", {"image": 24, "text": 6})
    return large_catalog


def test_a_catalog_has_the_sizes_asked_for_and_its_classes_show(large_catalog, tmp_path):
    made = large_catalog.catalog(tmp_path, items=300, users=120, pairs=2000)
    assert {m: (x.shape, x.dtype) for m, x in made.features.items()} == {
        "image": ((300, 24), np.float16),
        "text": ((300, 6), np.float16),
    }
    assert all(isinstance(x, np.memmap) for x in made.features.values())
    assert made.train.shape == (120, 300)
    assert made.train.nnz == 2000
    assert made.train.has_canonical_format
    image = np.array(made.features["image"], dtype=np.float32)
    image -= image.mean(0)
    alike = made.labels[:, None] == made.labels
    np.fill_diagonal(alike, False)
    similar = np.corrcoef(image)
    assert similar[alike].mean() > 0.3 > 0.1 > similar[~alike].mean()


def test_a_broken_off_catalog_is_gone_on_with_to_the_same_bytes(
    large_catalog, tmp_path, monkeypatch
):
    sizes = {"items": 300, "users": 120, "pairs": 2000, "seed": 4}
    large_catalog.catalog(tmp_path / "whole", **sizes)
    own = np.random.default_rng

    def failing(seed):
        if seed == (4, 2, 3):  # the image's fourth chunk
            raise KeyboardInterrupt
        return own(seed)

    with monkeypatch.context() as patch:
        patch.setattr(np.random, "default_rng", failing)
        with pytest.raises(KeyboardInterrupt):
            large_catalog.catalog(tmp_path / "parts", **sizes)
    part = tmp_path / "parts" / "image.part"
    assert part.stat().st_size == 128 + 3 * 64 * 24 * 2
    with part.open("ab") as file:
        file.write(b"half a row")
    chunks = []
    monkeypatch.setattr(np.random, "default_rng", lambda seed: chunks.append(seed) or own(seed))
    large_catalog.catalog(tmp_path / "parts", **sizes)
    assert [seed for seed in chunks if len(seed) == 3 and seed[1] == 2] == [(4, 2, 3), (4, 2, 4)]
    names = {path.name for path in (tmp_path / "whole").iterdir()}
    assert names == {path.name for path in (tmp_path / "parts").iterdir()}
    for name in names:
        one, other = (tmp_path / folder / name for folder in ("whole", "parts"))
        assert one.read_bytes() == other.read_bytes()
    with pytest.raises(ValueError, match="holds another catalog"):
        large_catalog.catalog(tmp_path / "whole", **{**sizes, "seed": 5})


@pytest.mark.skipif(not os.path.exists("/proc/self/io"), reason="reads Linux's /proc")
def test_it_reports_every_model_of_a_tiny_catalog(tmp_path):
    out = tmp_path / "large.json"
    run("large.py", "--folder", tmp_path, *SIZES, "--steps", 3, "--batch-size", 64, "--out", out,
        "--prefetch", 1)  # fmt: skip
    report = json.loads(out.read_text())
    assert list(report["results"]) == ["VBPR", "VBPR, sparse", "BM3"]
    for name, result in report["results"].items():
        assert 0 < result["seconds per step"] < 60
        assert 0.05 < result["anonymous GB, peak"] < 5
        assert result["anonymous GB, peak"] >= result["anonymous GB, model and sampler"]
        rows = 64 if name == "BM3" else 128
        assert rows / 2 < result["feature rows per step"] <= rows
        expected = 3 * result["feature rows per step"] * 2 * (4096 + 384) / 1e9
        assert result["feature GB gathered"] == pytest.approx(expected)
        assert result["optimizer, GB"] == pytest.approx(2 * result["parameters, GB"], rel=1e-4)
    first = [result["loss"][0] for result in report["results"].values()]
    assert first[0] == first[1] != first[2]
