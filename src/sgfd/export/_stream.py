"""Distilled features of a catalog of any size, written while it is read."""

from functools import partial
from os import PathLike
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import torch

from sgfd._checks import check_integer, check_path, to_numpy
from sgfd._distilled import Distilled
from sgfd._files import refuse_existing, replace_file
from sgfd.export._arrays import MMREC, file_name
from sgfd.export._npy import write_npy_header
from sgfd.export._parts import Part, checked_part, write_part_card


def stream_features(
    model: Distilled,
    folder: "str | PathLike[str]",
    *,
    pattern: str = MMREC,
    dtype: npt.DTypeLike = np.float32,
    chunk_size: int = 1024,
    part: "tuple[int, int] | None" = None,
    overwrite: bool = False,
    progress: bool = False,
) -> dict[str, Path]:
    """Write ``model.export()`` as one NumPy file per modality, without holding it.

    The files are those of ``save_features(model.export(), folder)``, byte for byte. Memory maps are
    read from start to end, and memory holds one chunk of a modality, as stored and in the dtype of
    the student (25 MB of 1,024 items with 4,096 float16), whatever the catalog. A file is swapped
    in whole.

    Several workers share the work with ``part=``: each makes the same call with its own rank, and
    ``join_features`` makes the files of all. A worker's items are a run of whole chunks, so that
    the parts joined are byte for byte what one worker would have written, if the workers' matrix
    products agree to the last bit, as those of machines of one kind do.

    Args:
        model: distilled.
        folder: is made if need be.
        pattern: the name of a modality's file, as in ``save_features``.
        dtype: of the files: float16, float32 or float64.
        chunk_size: how many items are computed at a time. By default a chunk of wide features fits
            a processor's last cache: 8,192 took twice the time.
        part: ``(rank, world)``, to write part number rank, from 0, of so many: of a process that
            torchrun started ``(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]))``. Parts
            lie in ``folder/parts``, each with a card; hooks on students must be the same in every
            worker. None writes the whole files.
        overwrite: whether files that are there may be replaced.
        progress: show a progress bar.

    Returns:
        The path of each modality's file, or of its part.

    Raises:
        TypeError: for a model that ``distill`` did not make.
        ValueError: for another dtype, a part that is none, names that make no file name, and
            for features that are not finite in ``dtype``.
        FileExistsError: if a file is there. Nothing has been written then.
        OSError: for a file where a folder is to be, or a folder where a file is to be.

    Example:
        >>> import tempfile
        >>> import numpy as np
        >>> from sgfd import distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.export import stream_features
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = stream_features(model, folder)
        ...     written = np.load(paths["image"])
        >>> np.array_equal(written, model.export()["image"].numpy())
        True
    """
    if not isinstance(model, Distilled):
        raise TypeError(
            "stream_features needs what distill() returns, which knows the students; got "
            f"{type(model).__qualname__}."
        )
    check_integer("chunk_size", chunk_size, at_least=1)
    kind = _checked_dtype(dtype)
    folder = check_path("folder", folder)
    names = {m: file_name(pattern, m) for m in model.student_paths}
    if len(set(names.values())) < len(names):
        raise ValueError(f"pattern must have '{{modality}}' in it; got {pattern!r}.")
    share = checked_part(part, len(model._labels), chunk_size)
    paths = {m: folder / name for m, name in names.items()}
    cards = []
    if part is not None:
        paths = {m: share.of(path) for m, path in paths.items()}
        cards = [share.card(folder)]
    refuse_existing([*paths.values(), *cards], overwrite=overwrite)
    for path in paths.values():
        path.parent.mkdir(parents=True, exist_ok=True)
    for card in cards:
        card.unlink(missing_ok=True)  # it says that its files are whole
    for m, path in paths.items():
        replace_file(
            path,
            partial(_write, model=model, modality=m, share=share, dtype=kind, progress=progress),
        )
    if cards:
        write_part_card(share, folder, model, names, kind)
    return paths


def _checked_dtype(dtype: npt.DTypeLike) -> np.dtype[Any]:
    try:
        found = np.dtype(np.void if dtype is None else dtype)  # NumPy takes None for float64
    except TypeError:
        found = np.dtype(np.void)
    if found.kind != "f" or found.itemsize > 8:
        raise ValueError(f"dtype must be float16, float32 or float64 of NumPy; got {dtype!r}.")
    return found


@torch.no_grad()
def _write(
    file: IO[bytes],
    model: Distilled,
    modality: str,
    share: Part,
    dtype: np.dtype[Any],
    progress: bool,
) -> None:
    width = model.student(modality).weight.shape[0]
    write_npy_header(file, (share.stop - share.start, width), dtype)
    device = model._labels.device
    chunks = torch.split(torch.arange(share.start, share.stop, device=device), share.chunk_size)
    chunks = chunks if share.start < share.stop else ()
    shown: Any = chunks
    if progress:
        from tqdm import tqdm

        shown = tqdm(chunks, desc=modality, unit="chunk")
    for rows in shown:
        features = model._watch.aside(modality, model._rows(modality, rows).values)
        with np.errstate(over="ignore"):
            array = to_numpy(features).astype(dtype, order="C", copy=False)
        if not np.isfinite(array).all():
            bad = int(rows[int((~np.isfinite(array)).any(axis=1).argmax())])
            raise ValueError(
                f"features of {modality!r} must be finite in {dtype}, which is written; those of "
                f"item {bad} are not."
            )
        file.write(array.data)
