"""Vectors back from files, if they are what their card says."""

import io
import json
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from sgfd._checks import check_path
from sgfd._extra import needed
from sgfd.export._card import checked_bytes, read_card
from sgfd.export._vectors import CARD


class SavedVectors(NamedTuple):
    """What ``save_vectors`` wrote.

    Attributes:
        users: (num_users, D); None where features were written alone.
        items: (num_items, D), likewise.
        features: ``{modality: (num_items, D_m)}``, empty where there are none.
        user_ids: the id of each row of ``users``; None where none were given.
        item_ids: likewise of ``items`` and ``features``.
        card: all that ``card.json`` says.
    """

    users: Tensor | None
    items: Tensor | None
    features: dict[str, Tensor]
    user_ids: tuple[str | int, ...] | None
    item_ids: tuple[str | int, ...] | None
    card: dict[str, Any]


def load_vectors(folder: "str | PathLike[str]") -> SavedVectors:
    """Read what ``save_vectors`` wrote, on the CPU, and nothing else.

    Every file's size and SHA-256 must be what the card says, and every table's shape and dtype.
    Nothing is unpickled. (A checksum finds damage and mixtures, not malice: whoever can change the
    files can write a card that fits.)

    Args:
        folder: of the card.

    Raises:
        ImportError: without safetensors (extra ``export``), if the files are such.
        FileNotFoundError: if the card, or a file that it lists, is not there.
        ValueError: for a card or a file that does not fit, with the reason.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from sgfd.export import load_vectors, save_vectors
        >>> users, items = torch.randn(3, 2), torch.randn(5, 2)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = save_vectors(folder, (users, items), item_ids=["a", "b", "c", "d", "e"])
        ...     found = load_vectors(folder)
        >>> torch.equal(found.users @ found.items.T, users @ items.T), found.item_ids[1]
        (True, 'b')
    """
    folder = check_path("folder", folder)
    card = read_card(folder / CARD, "vectors")
    try:
        return _load(folder, card)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{folder / CARD} must be a card as save_vectors writes it; it is not: {error!r}."
        ) from None


def _load(folder: Path, card: dict[str, Any]) -> SavedVectors:
    vectors: dict[str, Tensor] = {}
    features: dict[str, Tensor] = {}
    ids: dict[str, tuple[str | int, ...]] = {}
    for file, said in card["files"].items():
        data, path = checked_bytes(folder, file, said), folder / file
        rows = said["rows"]
        if said["holds"] == "ids":
            ids[rows] = _ids(path, data)
            count = len(ids[rows])
        else:
            table = _tensor(path, data, said["name"])
            got = (list(table.shape), str(table.dtype))
            if got != (said["shape"], f"torch.{said['dtype']}"):
                raise ValueError(
                    f"{path} must hold {said['shape']} of torch.{said['dtype']}, as its card says; "
                    f"got {got[0]} of {got[1]}."
                )
            count = len(table)
            (vectors if said["holds"] == "vectors" else features)[said["name"]] = table
        if count != card["num_rows"][rows]:
            raise ValueError(
                f"{path} must have {card['num_rows'][rows]} rows, one for each of the {rows}, as "
                f"its card says; got {count}."
            )
    return SavedVectors(
        vectors.get("users"),
        vectors.get("items"),
        features,
        ids.get("users"),
        ids.get("items"),
        card,
    )


def _ids(path: Path, data: bytes) -> tuple[str | int, ...]:
    try:
        listed = json.loads(data)
    except ValueError:
        listed = None
    if not isinstance(listed, list):
        raise ValueError(f"{path} must be a JSON list of ids, as its card says; it is none.")
    return tuple(listed)


def _tensor(path: Path, data: bytes, name: str) -> Tensor:
    if path.suffix not in (".npy", ".safetensors"):
        raise ValueError(f"{path} must be .npy or .safetensors; sgfd writes nothing else.")
    try:
        if path.suffix == ".npy":
            # Not np.load, which would also open an archive of that name.
            return torch.from_numpy(np.lib.format.read_array(io.BytesIO(data), allow_pickle=False))
        table: Tensor = needed("safetensors.torch", "load_vectors").load(data)[name]
        return table
    except ImportError:
        raise
    except Exception as error:  # of every kind: both parsers meet whatever the file holds
        raise ValueError(f"{path} cannot be read as what its name says: {error!r}.") from error
