"""docs/recipes.md, run as a reader would, where the toolbox of a section is there."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "recipes.md").read_text(encoding="utf-8")
SECTIONS = {m[1]: m[2] for m in re.finditer(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.M | re.S)}


def mmrec() -> Path:
    """The checkout: SGFD_MMREC, or MMRec beside ours."""
    return Path(os.environ.get("SGFD_MMREC", ROOT.parent / "MMRec")).resolve()


@pytest.mark.parametrize(("name", "count"), [("MMRec", 4), ("RecBole", 3), ("Cornac", 2)])
def test_a_recipe_runs_as_written(name, count, tmp_path):
    if name == "MMRec":
        if not (mmrec() / "src" / "models").is_dir():
            pytest.skip(f"needs an MMRec checkout: SGFD_MMREC, or {mmrec()}")
        (tmp_path / "MMRec").symlink_to(mmrec())
    elif importlib.util.find_spec(name.lower()) is None:
        pytest.skip(f"needs {name}: see the section's pip line")
    (tmp_path / "section.md").write_text(SECTIONS[name], encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-B", ROOT / "tests" / "readme_snippets.py", "section.md"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert f"{count} snippets ran" in done.stdout
    # Every class of ours says DistillationWarning in its name or in the page that it points to.
    assert "docs/troubleshooting.md" not in done.stderr
    assert "DistillationWarning" not in done.stderr


@pytest.mark.parametrize("name", ["MMRec", "RecBole", "Cornac"])
def test_every_snippet_is_python(name):
    for block in re.findall(r"^```python\n(.*?)^```", SECTIONS[name], re.M | re.S):
        compile(block, name, "exec")
