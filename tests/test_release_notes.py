"""A tag releases what the source and the changelog say, or nothing."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sgfd

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".github" / "release_notes.py"
if not SCRIPT.is_file():  # an unpacked source distribution has no .github
    pytest.skip("needs a checkout", allow_module_level=True)

spec = importlib.util.spec_from_file_location("release_notes", SCRIPT)
release_notes = importlib.util.module_from_spec(spec)
spec.loader.exec_module(release_notes)

SOURCE = '"""Words."""\n\n__version__ = "1.2.0"\n'
CHANGELOG = """# Changelog

## [Unreleased]

### Added
- tomorrow

## [1.2.0] - 2026-11-01

### Added
- today

### Fixed
- a bug

## [1.2.0rc1] - 2026-10-01
- yesterday

[1.2.0]: https://example.org/1.2.0
"""


def test_the_notes_are_the_section_of_the_version_and_no_more():
    notes = release_notes.release_notes("v1.2.0", SOURCE, CHANGELOG)
    assert notes == "### Added\n- today\n\n### Fixed\n- a bug"


def test_the_last_section_ends_before_the_links():
    assert release_notes.section(CHANGELOG, "1.2.0rc1") == "- yesterday"


@pytest.mark.parametrize("tag", ["1.2.0", "v1.2", "v1.2.1", "v1.2.0rc1"])
def test_a_tag_of_another_version_is_refused(tag):
    with pytest.raises(ValueError, match=re.escape("The tag must be v1.2.0, as src/sgfd")):
        release_notes.release_notes(tag, SOURCE, CHANGELOG)


def test_a_version_without_words_is_refused():
    with pytest.raises(ValueError, match=re.escape("has no section ## [1.3.0]")):
        release_notes.section(CHANGELOG, "1.3.0")
    with pytest.raises(ValueError, match="is empty"):
        release_notes.section("## [1.3.0]\n\n## [1.2.0]\n- words\n", "1.3.0")
    with pytest.raises(ValueError, match="has no line __version__"):
        release_notes.source_version("version = 1")


def test_the_version_read_is_the_version_imported():
    text = (ROOT / "src/sgfd/__init__.py").read_text(encoding="utf-8")
    assert release_notes.source_version(text) == sgfd.__version__


def test_a_wrong_tag_fails_the_workflow_with_a_sentence():
    done = subprocess.run([sys.executable, SCRIPT, "v0.0.0"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("The tag must be v")
    assert done.stdout == ""


@pytest.mark.parametrize("path", sorted((ROOT / ".github/workflows").glob("*.yml")), ids=str)
def test_actions_are_pinned_to_a_commit_whose_version_is_named(path):
    uses = re.findall(r"uses: (.*)", path.read_text(encoding="utf-8"))
    assert uses
    for line in uses:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", line), line
