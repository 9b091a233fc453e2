from pathlib import Path

from readme_snippets import run

ROOT = Path(__file__).parents[1]


def test_the_snippets_of_the_readme_run_in_order():
    assert run(ROOT / "README.md") == 4
