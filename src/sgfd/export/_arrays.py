"""One NumPy file per modality, in a layout that others read."""

from collections.abc import Mapping
from functools import partial
from os import PathLike
from pathlib import Path

import numpy as np

from sgfd._checks import check_path
from sgfd._features import FeatureSource
from sgfd._files import refuse_existing, replace_file
from sgfd.export._checks import checked_features

MMREC = "{modality}_feat.npy"
"""What the MMRec toolbox calls a feature file: ``image_feat.npy``, ``text_feat.npy``."""
SGFD = "Feature{modality}_normal.npy"
"""What the authors of SGFD call it: ``FeatureVideo_normal.npy``."""


def save_features(
    features: "Mapping[str, FeatureSource]",
    folder: "str | PathLike[str]",
    *,
    pattern: str = MMREC,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write item features as files that another recommender reads in place of the raw ones.

    For recommenders that ``distill`` cannot get into, because they read features through no
    layer: distil one that it can, export its features, and train the other on them.

    Row i is item i as the interactions given to ``distill`` number it, and the reader must number
    items likewise (MMRec: the ``itemID`` of its ``.inter`` file). A file is float32, (num_items,
    D), in C order, never pickled, and swapped in whole.

    Write to a folder of its own, with a copy of the interactions: a toolbox may keep beside the
    features what it computed from them (MMRec: ``*.pt``, nearest neighbors), and would go on
    using that of the old ones.

    Args:
        features: ``{modality: (num_items, D)}``, floating and finite, as ``model.export()`` gives
            them; modalities may differ in D.
        folder: is made if need be.
        pattern: the name of a modality's file, with ``{modality}`` in it: ``MMREC``, ``SGFD`` or
            one of your own.
        overwrite: whether files that are there may be replaced.

    Returns:
        The path of each modality's file.

    Raises:
        TypeError: for features that are not a mapping of tensors or arrays.
        ValueError: for features of other shapes, dtypes or rows, or that are not finite, and for
            names that make no file name.
        FileExistsError: if a file is there. Nothing has been written then.
        OSError: for a file where a folder is to be, or a folder where a file is to be.

    Example:
        >>> import tempfile
        >>> from sgfd import distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.export import save_features
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_features(model.export(), folder)
        >>> sorted(path.name for path in paths.values())
        ['image_feat.npy', 'text_feat.npy']
    """
    arrays = {m: x.float().numpy() for m, x in checked_features(features).items()}
    for m, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"features[{m!r}] must be finite in float32, which is written.")
    folder = check_path("folder", folder)
    paths = {m: folder / file_name(pattern, m) for m in arrays}
    if len(set(paths.values())) < len(paths):
        raise ValueError(f"pattern must have '{{modality}}' in it; got {pattern!r}.")
    refuse_existing(list(paths.values()), overwrite=overwrite)
    folder.mkdir(parents=True, exist_ok=True)
    for m, path in paths.items():
        replace_file(path, partial(np.save, arr=arrays[m], allow_pickle=False))
    return paths


def file_name(pattern: str, modality: str) -> str:
    """The name of a modality's file, or an error where it makes none."""
    if not isinstance(pattern, str):
        raise TypeError(f"pattern must be a string with '{{modality}}' in it; got {pattern!r}.")
    name = pattern.replace("{modality}", str(modality))
    if not modality or Path(name).name != name or "\\" in name:
        raise ValueError(
            f"A modality's name becomes part of a file name; {modality!r} with pattern "
            f"{pattern!r} makes {name!r}."
        )
    return name
