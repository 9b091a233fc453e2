"""The students as ONNX graphs, which run without torch and without sgfd."""

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sgfd._checks import check_path
from sgfd._distilled import Distilled
from sgfd._extra import needed
from sgfd._files import refuse_existing, write_bytes
from sgfd._sources import read_rows
from sgfd.export._arrays import file_name
from sgfd.export._onnx_graph import graph_of


def save_onnx(
    model: Distilled,
    folder: "str | PathLike[str]",
    *,
    tolerance: float = 1e-5,
    overwrite: bool = False,
) -> dict[str, Path]:
    """Write each modality's student as an ONNX graph that does what ``model.encode`` does.

    One file per modality, ``image.onnx``, since a service that has an item's image need not have
    its text. The graph takes ``raw`` (n, F), float32, any n, and gives ``distilled`` (n, D). A row
    of NaN throughout (the item lacks this modality) becomes the mean of the rows that training
    had, as in ``encode``: it is part of the graph. A row with NaN in part, which ``encode`` refuses
    and a graph cannot, comes out as NaN throughout.

    Before a file is written, onnxruntime runs the graph on up to 64 of the catalog's items, one at
    a time and together, and on a missing one, and the results are compared with ``encode``.

    Args:
        model: distilled, of float32.
        folder: is made if need be.
        tolerance: the largest difference allowed, as a part of the largest value (or of 1, if
            all are smaller).
        overwrite: whether files that are there may be replaced.

    Returns:
        The path of each modality's graph.

    Raises:
        ImportError: without onnx, onnxscript or onnxruntime (extra ``export``).
        TypeError: for a model that ``distill`` did not make, or of another dtype.
        RuntimeError: if torch cannot export a student (an activation that ONNX has no word for), or
            if onnxruntime computes something else than ``encode``.
        FileExistsError: if a file is there. Nothing has been written then.
        OSError: for a file where a folder is to be, or a folder where a file is to be.

    Example:
        >>> import tempfile
        >>> import onnxruntime
        >>> from sgfd import distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.export import save_onnx
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = save_onnx(model, folder)
        ...     session = onnxruntime.InferenceSession(paths["image"])
        >>> session.run(["distilled"], {"raw": data.features["image"][:3]})[0].shape
        (3, 64)
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        needed(package, "save_onnx")
    if not isinstance(model, Distilled):
        raise TypeError(
            "save_onnx needs what distill() returns, which knows the students and what stands in "
            f"for a missing modality; got {type(model).__qualname__}."
        )
    if wrong := {m: d for m in model.student_paths if (d := _dtype(model, m)) != torch.float32}:
        raise TypeError(f"save_onnx writes float32; got students of {wrong}: model.float() first.")
    folder = check_path("folder", folder)
    paths = {m: folder / file_name("{modality}.onnx", m) for m in model.student_paths}
    refuse_existing(list(paths.values()), overwrite=overwrite)
    graphs = {m: graph_of(model, m) for m in paths}
    for m, graph in graphs.items():
        _verify(model, m, graph, tolerance)
    folder.mkdir(parents=True, exist_ok=True)
    for m, path in paths.items():
        write_bytes(path, graphs[m])
    return paths


def _verify(model: Distilled, modality: str, graph: bytes, tolerance: float) -> None:
    """Raises RuntimeError if onnxruntime computes something else than ``encode``."""
    last = len(model._labels) - 1
    rows = torch.linspace(0, last, min(last + 1, 64), dtype=torch.float64).round().long()
    x = read_rows(model._source(modality), rows.to(model._labels.device)).values
    x = torch.cat([x.detach().cpu().float(), torch.full((1, x.shape[1]), torch.nan)])
    expected = model.encode({modality: x.to(model.student(modality).weight.device)})[modality].cpu()
    runtime = needed("onnxruntime", "save_onnx")

    def run(parts: Sequence[Tensor]) -> Tensor:
        results = [session.run(["distilled"], {"raw": part.numpy()})[0] for part in parts]
        return torch.from_numpy(np.concatenate(results))

    try:
        session = runtime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        ways = {"together": run([x]), "one by one": run(torch.split(x, 1))}
    except Exception as error:  # onnxruntime has many kinds, all of them bare Exceptions
        raise RuntimeError(
            f"onnxruntime cannot run the graph that torch made for {modality!r}: {error}"
        ) from error
    allowed = tolerance * max(1.0, float(expected.abs().max()))
    for way, found in ways.items():
        difference = float((found - expected).abs().max())
        if not difference <= allowed:  # NaN too
            raise RuntimeError(
                f"onnxruntime must give what encode gives for {modality!r}, to {allowed:.1e}; "
                f"{len(x)} rows {way} differ by up to {difference:.1e}. Nothing was written. "
                "(Hooks on a student are not in the graph.)"
            )


def _dtype(model: Distilled, modality: str) -> torch.dtype:
    return model.student(modality).weight.dtype
