"""An index as a file, with a card beside it."""

import datetime as dt
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from sgfd._checks import check_path
from sgfd._extra import needed
from sgfd._files import refuse_existing, write_bytes
from sgfd.export._card import checked_bytes, read_card, write_card
from sgfd.export._index import check_index


def save_index(
    index: Any,
    path: "str | PathLike[str]",
    *,
    date: dt.date | None = None,
    overwrite: bool = False,
) -> Path:
    """Write an index as faiss does, with a card beside it, ``<name>.json``, for ``load_index``.

    Args:
        index: a ``faiss.Index``.
        path: the file, which ``faiss.read_index`` reads too; its folder is made if need be.
        date: for the card; None for none, so that the same index gives the same bytes.
        overwrite: whether files that are there may be replaced.

    Raises:
        ImportError: without faiss (extra ``export``).
        TypeError: for what is no index.
        FileExistsError: if a file is there.
        OSError: for a file where a folder is to be, or a folder where a file is to be.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from sgfd.export import build_index, load_index, nearest, save_index
        >>> items = torch.eye(4)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_index(build_index(items), Path(folder) / "items.faiss")
        ...     nearest(load_index(path), items, k=1).items.flatten()
        tensor([0, 1, 2, 3])
    """
    faiss = needed("faiss", "save_index")
    check_index(index, "save_index")
    path = check_path("path", path)
    refuse_existing([path, _card_of(path)], overwrite=overwrite)
    data = faiss.serialize_index(index)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, data.tobytes())
    content = {"faiss": faiss.__version__, "rows": index.ntotal, "width": index.d}
    write_card(_card_of(path), "index", content, {path.name: {}}, date=date)
    return path


def load_index(path: "str | PathLike[str]") -> Any:
    """Read an index that ``save_index`` wrote, once its checksum is verified.

    faiss reads its own binary format, not a pickle, but trusts what it reads: load only files
    of whom you trust. (The checksum finds damage and mixtures, not malice.)

    Args:
        path: the file; its card must be beside it.

    Returns:
        A ``faiss.Index``.

    Raises:
        ImportError: without faiss (extra ``export``).
        FileNotFoundError: if the index or its card is not there.
        ValueError: for a card or an index that does not fit, with the reason.

    Example:
        >>> import tempfile, torch
        >>> from sgfd.export import build_index, load_index, save_index
        >>> file = f"{tempfile.mkdtemp()}/items.faiss"
        >>> path = save_index(build_index(torch.eye(3)), file)
        >>> load_index(path).ntotal
        3
    """
    faiss = needed("faiss", "load_index")
    path = check_path("path", path)
    card = read_card(_card_of(path), "index")
    try:
        data = checked_bytes(path.parent, path.name, card["files"][path.name])
        index = faiss.deserialize_index(np.frombuffer(data, dtype=np.uint8))
        found, said = (index.ntotal, index.d), (card["rows"], card["width"])
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{_card_of(path)} must be a card as save_index writes it; it is not: {error!r}."
        ) from None
    except RuntimeError as error:
        raise ValueError(f"{path} is no index that this faiss reads: {error}.") from error
    if found != said:
        raise ValueError(
            f"{path} must have {said[0]} rows of width {said[1]}, as its card says; got "
            f"{found[0]} and {found[1]}."
        )
    return index


def _card_of(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")
