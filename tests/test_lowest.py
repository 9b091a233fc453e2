"""The oldest versions that are tried by hand are those of the ranges."""

from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
EXTRAS = ("train", "data", "export", "viz", "labels")


def test_what_is_pinned_is_within_the_ranges_and_nothing_is_left_out():
    tomllib = pytest.importorskip("tomllib")  # Python 3.11
    lines = (ROOT / "constraints-lowest.txt").read_text().splitlines()
    pins = [Requirement(text) for line in lines if (text := line.split("#")[0].strip())]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [name for extra in EXTRAS for name in project["optional-dependencies"][extra]]
    ranges = {r.name: r.specifier for r in map(Requirement, project["dependencies"] + extras)}
    # Others of these want a newer one of it.
    assert ranges.keys() - {pin.name for pin in pins} == {"typing-extensions"}
    for pin in pins:
        (version,) = (part.version for part in pin.specifier)
        assert ranges[pin.name].contains(version), pin
