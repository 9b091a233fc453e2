"""Files that are there whole or not at all."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import IO


def replace_file(path: Path, save: "Callable[[IO[bytes]], object]") -> None:
    """Writes a file beside the old one and swaps them: a kill at any time leaves one of the two.

    Args:
        path: the file; its directory must exist.
        save: writes to the binary file it is given.
    """
    # One name for all processes: what a killed one left is taken over by the next.
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            save(file)
            file.flush()
            os.fsync(file.fileno())  # or a power failure could leave an empty file of that name
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
