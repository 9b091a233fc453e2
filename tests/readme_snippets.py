"""Runs the Python snippets of a Markdown file in order, in one namespace, as a reader would."""

import re
import sys
from pathlib import Path

FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(path: Path) -> list[tuple[int, str]]:
    """Line number and code of each ``python`` block."""
    text = path.read_text()
    return [(text[: m.start(1)].count("\n"), m.group(1)) for m in FENCE.finditer(text)]


def run(path: Path) -> int:
    """Run every block; returns how many there were."""
    namespace: dict[str, object] = {"__name__": "__main__"}
    blocks = snippets(path)
    for line, code in blocks:
        # Newlines first, so that a traceback names the line of the file.
        exec(compile("\n" * line + code, str(path), "exec"), namespace)
    return len(blocks)


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(f"{name}: {run(Path(name))} snippets ran")
