"""Every public name is in the API reference, and every name there is public."""

import ast
import importlib
import re
from pathlib import Path

import pytest

import sgfd

SOURCE = Path(sgfd.__file__).parent
REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
DIRECTIVE = re.compile(r"^\.\. auto(?:class|data|exception|function):: (\S+)$", re.MULTILINE)


def public_names() -> list[str]:
    """What each ``__init__`` re-exports as ``X as X``: nothing else is promised."""
    found = []
    for path in [SOURCE / "__init__.py", *sorted(SOURCE.glob("*/__init__.py"))]:
        module = ".".join(["sgfd", *path.parent.relative_to(SOURCE).parts])
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom):
                found += [f"{module}.{a.name}" for a in node.names if a.asname == a.name]
    return found


def documented_names() -> list[str]:
    pages = sorted(REFERENCE.glob("*.md"))
    return [name for page in pages for name in DIRECTIVE.findall(page.read_text(encoding="utf-8"))]


PUBLIC, DOCUMENTED = public_names(), documented_names()


@pytest.mark.parametrize("name", PUBLIC)
def test_a_public_name_is_in_the_reference(name):
    assert name in DOCUMENTED


def test_what_the_reference_has_is_public_and_there_once():
    assert len(DOCUMENTED) == len(set(DOCUMENTED))
    assert set(DOCUMENTED) <= set(PUBLIC)


def test_every_subpackage_has_its_docstring_there():
    text = "".join(page.read_text(encoding="utf-8") for page in REFERENCE.glob("*.md"))
    for name in sgfd._SUBPACKAGES:
        assert importlib.import_module(f"sgfd.{name}").__doc__
        assert f".. automodule:: sgfd.{name}\n" in text
