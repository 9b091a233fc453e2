"""The Python of every page of docs/ runs as a reader would paste it, in order, in one session."""

from pathlib import Path

import pytest
from readme_snippets import run, snippets

DOCS = Path(__file__).parents[1] / "docs"
# Run elsewhere, or not for running.
ELSEWHERE = {
    "composing.md": "tests/distill/test_compile.py, which resets the compiler around it",
    "recipes.md": "tests/test_recipe_pages.py, where the toolboxes are installed",
    "results.md": "one fragment, of what a run was given",
    "troubleshooting.md": "tests/distill/test_problems.py",
}
PAGES = [p for p in sorted(DOCS.glob("*.md")) if p.name not in ELSEWHERE and snippets(p)]

# Of Lightning, to a Trainer of one's own.
LIGHTNING = [
    "ignore:.*LeafSpec.*is deprecated:FutureWarning",
    "ignore:.*does not have many workers",
    "ignore:.*smaller than the logging interval",
]


@pytest.mark.filterwarnings(*LIGHTNING)
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_runs_as_written(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write files
    assert run(page) == len(snippets(page))


def test_pages_that_run_elsewhere_are_there():
    assert all((DOCS / name).is_file() for name in ELSEWHERE)
