"""Prints what CHANGELOG.md says of a release, if the tag is that of the version in the source.

    python .github/release_notes.py v0.1.0

Fails where the tag is another version, or the changelog has no section of it: then nothing is
built, and nothing published. Needs nothing but Python.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def source_version(text: str) -> str:
    """The version in ``src/sgfd/__init__.py``, read without importing it."""
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError('src/sgfd/__init__.py has no line __version__ = "...".')
    return found[1]


def section(changelog: str, version: str) -> str:
    """What stands under ``## [version]``, up to the next version or the links at the end."""
    start = re.search(rf"^## \[{re.escape(version)}\].*\n", changelog, re.MULTILINE)
    if start is None:
        raise ValueError(f"CHANGELOG.md has no section ## [{version}].")
    rest = changelog[start.end() :]
    end = re.search(r"^## |^\[[^\]]+\]: ", rest, re.MULTILINE)
    notes = rest[: end.start() if end else None].strip()
    if not notes:
        raise ValueError(f"The section ## [{version}] of CHANGELOG.md is empty.")
    return notes


def release_notes(tag: str, source: str, changelog: str) -> str:
    """The notes of a tag ``v<version>``, checked against the version in the source."""
    version = source_version(source)
    if tag != f"v{version}":
        raise ValueError(f"The tag must be v{version}, as src/sgfd/__init__.py has it; got {tag}.")
    return section(changelog, version)


if __name__ == "__main__":
    try:
        notes = release_notes(
            sys.argv[1],
            (ROOT / "src/sgfd/__init__.py").read_text(encoding="utf-8"),
            (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        )
    except ValueError as error:
        sys.exit(str(error))
    print(notes)
