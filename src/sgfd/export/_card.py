"""A card beside exported files: what they are, and the checksum that each must have."""

import datetime as dt
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from sgfd._files import write_bytes

_VERSION = 1
_BLOCK = 2**22  # bytes held at a time, however large a file is


def write_card(
    path: Path,
    kind: str,
    content: Mapping[str, object],
    files: "Mapping[str, Mapping[str, object]]",
    *,
    date: dt.date | None,
) -> None:
    """Write what is known of files that are there, beside them.

    Args:
        path: the card.
        kind: what was written.
        content: what is said of it.
        files: the names of the files, in the card's folder, and what is said of each.
        date: of the card; None for none, so that the same content gives the same bytes.
    """
    import sgfd

    card = {
        "kind": f"sgfd {kind}",
        "version": _VERSION,
        "date": None if date is None else date.isoformat(),
        "sgfd": sgfd.__version__,
        "torch": str(torch.__version__),
        **content,
        "files": {name: {**said, **_print_of(path.parent / name)} for name, said in files.items()},
    }
    text = json.dumps(card, indent=2, ensure_ascii=False) + "\n"
    write_bytes(path, text.encode())


def read_card(path: Path, kind: str) -> dict[str, Any]:
    """A card that ``write_card`` wrote.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is of something else, or of a version this sgfd does not know.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is not there: without its card nothing tells whether an export is whole."
        )
    try:
        card = json.loads(path.read_bytes())
    except ValueError as error:  # JSON's, and that of bytes which are no UTF-8
        raise ValueError(f"{path} must be a card in JSON; it is none: {error}.") from None
    found = (card.get("kind"), card.get("version")) if isinstance(card, dict) else (None, None)
    if found != (f"sgfd {kind}", _VERSION):
        raise ValueError(
            f"{path} must be a card of kind 'sgfd {kind}', version {_VERSION}; got kind "
            f"{found[0]!r}, version {found[1]!r}."
        )
    assert isinstance(card, dict)
    return card


def checked_bytes(folder: Path, name: str, expected: Mapping[str, Any]) -> bytes:
    """What is in a file that a card lists so, once its checksum is verified.

    Raises:
        FileNotFoundError: if it is not there.
        ValueError: if it is not the file that the card was written of.
    """
    return b"".join(checked_blocks(folder, name, expected))


def checked_blocks(folder: Path, name: str, expected: Mapping[str, Any]) -> Iterator[bytes]:
    """The same, block by block: an error may come after the last."""
    if Path(name).name != name or "\\" in name:
        raise ValueError(f"A card lists files in its own folder; got {name!r}.")
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there, and its card lists it.")
    if (size := path.stat().st_size) != expected["bytes"]:
        raise ValueError(
            f"{path} must have {expected['bytes']:,} bytes, as its card says; got {size:,}. "
            "It was cut short, or is of another export."
        )
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
        yield block
    if digest.hexdigest() != expected["sha256"]:
        raise ValueError(
            f"{path} must have the checksum that its card says; it has another. It was damaged, or "
            "is of another export."
        )


def _print_of(path: Path) -> dict[str, object]:
    digest = hashlib.sha256()
    for block in _blocks(path):
        digest.update(block)
    return {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
