"""All modalities in one safetensors file."""

from collections.abc import Mapping
from os import PathLike
from pathlib import Path

from torch import Tensor

from sgfd._checks import check_path
from sgfd._extra import needed
from sgfd._features import FeatureSource
from sgfd._files import refuse_existing, write_bytes
from sgfd.export._checks import checked_features


def save_safetensors(
    features: "Mapping[str, FeatureSource]",
    path: "str | PathLike[str]",
    *,
    overwrite: bool = False,
) -> Path:
    """Write item features as one safetensors file, a tensor per modality.

    The dtypes are kept. ``safetensors.torch.load_file(path)`` gives the mapping back; row i is
    item i as in ``save_features``.

    Args:
        features: ``{modality: (num_items, D)}``, as for ``save_features``.
        path: the file; its folder is made if need be.
        overwrite: whether a file that is there may be replaced.

    Raises:
        ImportError: without safetensors (extra ``export``).
        TypeError: as ``save_features``.
        ValueError: as ``save_features``.
        FileExistsError: if the file is there.
        OSError: for a file where a folder is to be, or a folder where a file is to be.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> import torch
        >>> from safetensors.torch import load_file
        >>> from sgfd.export import save_safetensors
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = save_safetensors({"image": torch.ones(3, 2)}, Path(folder) / "x.safetensors")
        ...     load_file(path)["image"].shape
        torch.Size([3, 2])
    """
    otherwise = " save_features writes NumPy files without it."
    needed("safetensors.torch", "save_safetensors", otherwise)
    checked = {str(m): values for m, values in checked_features(features).items()}
    path = check_path("path", path)
    refuse_existing([path], overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(checked, path, row="item")
    return path


def write_safetensors(tensors: "Mapping[str, Tensor]", path: Path, *, row: str) -> None:
    """Write tensors that were checked to a folder that is there."""
    save = needed("safetensors.torch", "A safetensors file").save
    # It takes no memory twice, as of one tensor under two names.
    places = [x.untyped_storage().data_ptr() for x in tensors.values()]
    own = {
        m: x.clone() if places.count(p) > 1 else x
        for p, (m, x) in zip(places, tensors.items(), strict=True)
    }
    write_bytes(path, save(own, metadata={"row": row}))
