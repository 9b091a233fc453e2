"""What a backbone was built from and its state dict does not hold, in short."""

import json
from collections.abc import Collection
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from sgfd._features import FeatureTable
from sgfd._named import NotPlainError, encode

_LONGEST = 1000  # characters of a setting that are written out


def backbone_settings(backbone: nn.Module, without: "Collection[nn.Module]") -> dict[str, Any]:
    """What a state dict leaves out, by dotted name: plain attributes, and hashes of tensors.

    Buffers by any name, other attributes where the name is public. ``training`` is a mode, and
    what neither JSON nor a hash can say (a data loader, a SciPy matrix) is left out.

    Args:
        backbone: the recommender.
        without: modules that are described elsewhere.
    """
    stored = stored_tensors(backbone)
    found: dict[str, Any] = {}
    for path, module in backbone.named_modules():
        if module in without:
            continue
        if isinstance(module, FeatureTable):
            if id(module.values) not in stored:
                found[path] = table_fingerprint(module)
            continue
        buffers = dict(module.named_buffers(recurse=False))
        for key, value in {**vars(module), **buffers}.items():
            private = key.startswith("_") and key not in buffers
            if private or key == "training" or id(value) in stored:
                continue
            try:
                said = fingerprint(value) if isinstance(value, Tensor) else _short(encode(value))
            except NotPlainError:
                continue
            found[f"{path}.{key}" if path else key] = said
    return found


def stored_tensors(module: nn.Module) -> set[int]:
    """Identities of the tensors that a module's state dict holds."""
    return {id(x) for x in module.state_dict(keep_vars=True).values()}


def fingerprint(x: Tensor) -> dict[str, Any]:
    """Shape, dtype and SHA-256 of a tensor's values."""
    digest = sha256()
    if x.layout == torch.strided:
        digest.update(_bytes(x))
    else:
        x = x.detach()
        sparse = (x if x.is_sparse else x.to_sparse(layout=torch.sparse_coo)).coalesce()
        digest.update(_bytes(sparse.indices()))
        digest.update(_bytes(sparse.values()))
    return _said(tuple(x.shape), x.dtype, digest.hexdigest())


def table_fingerprint(table: FeatureTable, dtype: torch.dtype | None = None) -> dict[str, Any]:
    """The same of features, read as ``dtype``; a memory map is read through.

    What stands in for a missing row does not count: it is a mean, which another machine rounds
    in another way.
    """
    digest = sha256()
    for rows in torch.split(torch.arange(table.num_rows, device=table.values.device), 8192):
        read = table.read(rows)
        values = read.values.masked_fill(read.missing.unsqueeze(-1), 0)
        dtype = dtype or values.dtype
        digest.update(_bytes(values.to(dtype)))
        digest.update(_bytes(read.missing))
    return _said((table.num_rows, table.width), dtype, digest.hexdigest())


def dtype_name(dtype: torch.dtype | None) -> str:
    """``float32`` for ``torch.float32``."""
    return str(dtype).removeprefix("torch.")


def _said(shape: tuple[int, ...], dtype: torch.dtype | None, digest: str) -> dict[str, Any]:
    return {"shape": list(shape), "dtype": dtype_name(dtype), "sha256": digest}


def _bytes(x: Tensor) -> memoryview:
    return x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data


def _short(value: Any) -> Any:
    """A long setting, such as every user's history, by its hash alone."""
    text = json.dumps(value)
    return value if len(text) <= _LONGEST else {"sha256": sha256(text.encode()).hexdigest()}
