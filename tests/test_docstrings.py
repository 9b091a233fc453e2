"""Every example in a docstring runs as it stands, pasted into an empty session."""

import doctest
import importlib
import pkgutil

import pytest

import sgfd

FINDER = doctest.DocTestFinder(exclude_empty=True)


def examples():
    names = [m.name for m in pkgutil.walk_packages(sgfd.__path__, "sgfd.")]
    for name in ["sgfd", *names]:
        if not name.endswith("__main__"):
            yield from (t for t in FINDER.find(importlib.import_module(name)) if t.examples)


@pytest.mark.parametrize("example", list(examples()), ids=lambda test: test.name)
def test_an_example_runs_in_an_empty_session(example):
    example.globs = {"__name__": "__main__"}
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE, verbose=False)
    report = []
    runner.run(example, out=report.append)
    assert runner.failures == 0, "".join(report)
