"""What the documentation site is made of, as far as that can be told without building it."""

import importlib.util
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(DOCS.glob("*.md"))


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_what_its_script_draws():
    idea = load("draw_idea")
    for name, colors in (("light", idea.LIGHT), ("dark", idea.DARK)):
        drawn = (DOCS / "_static" / f"idea-{name}.svg").read_text(encoding="utf-8")
        assert drawn == idea.draw(colors)


def test_every_page_is_reached_from_the_first():
    first = (DOCS / "index.md").read_text(encoding="utf-8")
    for page in PAGES:
        assert page.stem == "index" or re.search(rf"^{page.stem}$", first, re.MULTILINE), page.name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_files_work_on_github_too(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
        if "://" not in link:
            assert (DOCS / link).exists(), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_line_is_lost_as_a_comment(page):
    # MyST takes a line that begins with a percent sign for one, as of a wrapped "5 % more".
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    assert re.findall(r"^ {0,3}%.*", text, re.MULTILINE) == []
