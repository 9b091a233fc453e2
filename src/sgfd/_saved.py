"""A folder with config.json and model.safetensors, which says when it is not what was written."""

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sgfd._extra import needed
from sgfd._files import refuse_existing, write_bytes

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT, VERSION = "sgfd.Distilled", 1


class Saved(NamedTuple):
    """What a folder holds, checked to be what was written.

    Attributes:
        content: of ``config.json``.
        tensors: of ``model.safetensors``, on the CPU, those that share memory under each name.
    """

    content: dict[str, Any]
    tensors: dict[str, Tensor]


def write_folder(
    folder: Path,
    state: Mapping[str, Tensor],
    content: Callable[[], dict[str, Any]],
    *,
    overwrite: bool,
) -> None:
    """Writes both files, each whole or not at all.

    Args:
        folder: where to.
        state: for ``model.safetensors``.
        content: gives that of ``config.json``; not called if there is an error before.
        overwrite: whether files may be replaced.

    Raises:
        ImportError: without safetensors.
        FileExistsError: if one is there and may not be replaced.
        IsADirectoryError: for a folder where a file is to be.
        NotADirectoryError: if the folder is a file, or in one.
        TypeError: for a state that is not all tensors.
        ValueError: for tensors that safetensors cannot hold.
    """
    safetensors = needed("safetensors.torch", "save_pretrained")
    refuse_existing([folder / CONFIG, folder / WEIGHTS], overwrite=overwrite)
    tensors, shared = _apart(state)
    try:
        written = safetensors.save(tensors, metadata={"format": "pt"})
    except Exception as error:  # a KeyError, ValueError or SafetensorError, as versions go
        dtypes = sorted({str(x.dtype) for x in tensors.values()})
        raise ValueError(
            f"safetensors cannot hold the state dict, whose dtypes are {', '.join(dtypes)}: {error}"
        ) from error
    weights = {"bytes": len(written), "sha256": sha256(written).hexdigest(), "shared": shared}
    whole = {"format": FORMAT, "version": VERSION, **content(), "weights": weights}
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(folder / WEIGHTS, written)
    write_bytes(folder / CONFIG, _render(whole).encode())


def read_folder(folder: Path) -> Saved:
    """Reads both files.

    Raises:
        ImportError: without safetensors.
        FileNotFoundError: if one is not there.
        ValueError: if one is not what was written, or of a newer format.
    """
    safetensors = needed("safetensors.torch", "from_pretrained")
    content = _read_config(folder)
    path, expected = folder / WEIGHTS, content["weights"]
    written = _read(path)
    if len(written) != expected["bytes"]:
        how = "cut short" if len(written) < expected["bytes"] else "of another save"
        raise ValueError(
            f"{path} is {how}: it has {len(written):,} bytes, where {CONFIG} says "
            f"{expected['bytes']:,}. Copy it again, or save the model again."
        )
    if (got := sha256(written).hexdigest()) != expected["sha256"]:
        raise ValueError(
            f"{path} is damaged or of another save: its SHA-256 is {got[:12]}..., where {CONFIG} "
            f"says {expected['sha256'][:12]}.... Copy it again, or save the model again."
        )
    tensors: dict[str, Tensor] = safetensors.load(written)
    shared = {name: tensors[first] for name, first in expected["shared"].items()}
    return Saved(content, tensors | shared)


def _read_config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    again = "Copy it again, or save the model again."
    try:
        text = _read(path).decode().replace("\r\n", "\n")  # as git may have made it
        content: Any = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{path} is cut short or damaged ({error}). {again}") from error
    kind = content.get("format") if isinstance(content, dict) else None
    if kind != FORMAT:
        raise ValueError(
            f"{path} is not of a model that save_pretrained wrote: its 'format' is {kind!r}, not "
            f"{FORMAT!r}."
        )
    version = content.get("version")
    if isinstance(version, int) and version > VERSION:
        raise ValueError(
            f"{path} is of format version {version}, written by sgfd {content.get('sgfd')}; this "
            f"sgfd reads versions up to {VERSION}. Update it: pip install -U sgfd."
        )
    read: dict[str, Any] = content
    read.pop("checksum", None)
    if _render(read) != text:
        raise ValueError(
            f"{path} was changed after it was written, or is damaged: what it holds does not "
            f"give its checksum. {again}"
        )
    return read


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{path} is not there: save_pretrained writes a folder with {CONFIG} and {WEIGHTS}."
        ) from None


def _render(content: Mapping[str, Any]) -> str:
    """The text of ``config.json``, with the hash of all that is above the hash."""
    checksum = sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "checksum": checksum}, indent=2) + "\n"


def _apart(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Copies for safetensors, which takes no shared memory, and the other names of each."""
    tensors: dict[str, Tensor] = {}
    shared: dict[str, str] = {}
    first: dict[object, str] = {}
    for name, x in state.items():
        if not isinstance(x, Tensor):
            raise TypeError(
                f"The state dict must hold tensors alone; {name!r} is {type(x).__qualname__}."
            )
        if x.is_meta or x.layout != torch.strided:
            problem = "on the meta device" if x.is_meta else f"of layout {x.layout}"
            raise ValueError(f"{name!r} is {problem}: there are no values to save in order.")
        memory = (x.device, x.data_ptr(), x.dtype, x.shape, x.stride()) if x.numel() else name
        other = first.setdefault(memory, name)
        if other != name:
            shared[name] = other
        else:
            tensors[name] = x.detach().to("cpu", copy=True).contiguous()
    return tensors, shared
