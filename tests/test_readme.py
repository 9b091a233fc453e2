from pathlib import Path

import pytest
from readme_snippets import run

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    ("name", "count"),
    [("README.md", 4), ("docs/two_truths.md", 1), ("docs/labels.md", 10)],
)
def test_the_snippets_of_a_page_run_in_order(name, count):
    assert run(ROOT / name) == count
