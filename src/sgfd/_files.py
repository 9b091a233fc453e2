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


def refuse_existing(paths: "list[Path]", *, overwrite: bool) -> None:
    """Raises OSError if files cannot be written there, or are there and must not be lost.

    Raises:
        IsADirectoryError: for a folder where a file is to be.
        NotADirectoryError: for a file where a folder is to be.
        FileExistsError: for a file that may not be replaced.
    """
    for path in paths:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder, and was to be a file: name another.")
        if file := next((up for up in path.parents if up.exists() and not up.is_dir()), None):
            raise NotADirectoryError(f"{file} is a file, and was to be a folder: name another.")
    if not overwrite and (there := [str(path) for path in paths if path.exists()]):
        raise FileExistsError(
            f"{', '.join(there)} exist{'s' * (len(there) == 1)}: write to another folder, or pass "
            "overwrite=True."
        )


def write_bytes(path: Path, data: bytes) -> None:
    """A file that is there whole or not at all."""
    replace_file(path, lambda file: file.write(data))
