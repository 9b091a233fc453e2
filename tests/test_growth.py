"""The growth benchmark at tiny sizes."""

import json
import math

import pytest
from benchmarks.growth import __main__ as growth
from benchmarks.growth.points import AXES, EVALUATION, FIXED, Point, Sizes, grid

pytest.importorskip("matplotlib")
report = pytest.importorskip("benchmarks.growth.report")

TINY = Sizes(users=40, items=30, pairs=200, width=8, modalities=2)
POINTS = [
    Point("vbpr", "users", TINY),
    Point("grcn", FIXED, TINY._replace(width=12)),
    Point(EVALUATION, "items", TINY._replace(items=50)),
]


def test_each_point_is_measured_once_by_a_process_of_its_own(tmp_path, monkeypatch):
    assert growth.run(POINTS, tmp_path, threads=1) == []
    found = growth.done(tmp_path / "points.jsonl", POINTS, threads=1)
    assert list(found) == POINTS
    for values in found.values():
        assert values["seconds"] > 0
        assert values["mb"] > 0
    # An epoch of 200 pairs is one step, and the shuffle.
    assert found[POINTS[0]]["seconds"] > found[POINTS[0]]["step"]
    assert "step" not in found[POINTS[2]]

    monkeypatch.setattr(growth.subprocess, "run", None)  # not called again
    assert growth.run(POINTS, tmp_path, threads=1) == []
    # Another number of threads is another measurement.
    assert growth.done(tmp_path / "points.jsonl", POINTS, threads=2) == {}


def test_a_point_that_fails_is_named_and_not_kept(tmp_path, capfd):
    impossible = Point("vbpr", "modalities", TINY._replace(modalities=0))
    assert growth.run([impossible], tmp_path, threads=1) == [impossible]
    assert "failed: vbpr, modalities = 0: ValueError" in "".join(capfd.readouterr())
    assert growth.done(tmp_path / "points.jsonl", [impossible], threads=1) == {}


def test_one_size_varies_at_a_time():
    for point in grid(["vbpr", EVALUATION], list(AXES), full=True):
        changed = {n for n in Sizes._fields if getattr(point.sizes, n) != getattr(Sizes(), n)}
        assert changed <= {"width" if point.axis == FIXED else point.axis}
    pairs = [p.value for p in grid(["bm3"], ["pairs"], full=True)]
    assert (min(pairs), max(pairs)) == (10**4, 10**7)


def test_the_exponent_is_the_slope_of_the_upper_half(tmp_path):
    values = [10, 100, 1000, 10_000]
    # Flat, and then as the power of 1.5.
    measured = [7.0, 7.0, 1000**1.5, 10_000**1.5]
    assert report.exponent(values, measured) == pytest.approx(1.5)
    assert math.isnan(report.exponent([10], [1.0]))
    found = {
        Point("bm3", "users", TINY._replace(users=v)): {"step": y, "seconds": 3 * y, "mb": float(v)}
        for v, y in zip(values, measured, strict=True)
    }
    (row,) = report.rows(found)
    assert [row[f"{of} exponent"] for of in ("step", "seconds", "mb")] == pytest.approx(
        [1.5, 1.5, 1]
    )
    assert json.loads(json.dumps(row))["values"] == values
    assert "| bm3 | users | 10 | 10,000 | 7 to 1e+06 |" in report.table(found)
    report.figure(found, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").stat().st_size > 10_000
