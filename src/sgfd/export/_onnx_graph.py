"""One student, and what stands in for a missing row, as an ONNX graph."""

import copy
import io
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgfd._distilled import Distilled
from sgfd._extra import needed
from sgfd._functional import activate, describe
from sgfd._sources import new_rows
from sgfd._student import FeatureStudent

# Of ONNX; all torch from 2.4 on and onnxruntime from 1.14 on know it.
_OPSET = 18


class _Encoder(nn.Module):
    """A student's ``forward`` with the filling of missing rows before it, without its hooks."""

    weight: Tensor
    bias: Tensor | None
    fill: Tensor

    def __init__(self, student: FeatureStudent, fill: Tensor) -> None:
        super().__init__()
        bias = None if student.bias is None else student.bias.detach()
        self.register_buffer("weight", student.weight.detach())
        self.register_buffer("bias", bias)
        self.register_buffer("fill", fill.detach())
        self.activation = copy.deepcopy(student.activation)  # its mode is to be changed
        self.normalize = student.normalize

    def forward(self, raw: Tensor) -> Tensor:
        """(n, F) to (n, D)."""
        missing = raw.isnan().all(dim=-1, keepdim=True)
        x = torch.where(missing, self.fill, raw)
        return activate(F.linear(x, self.weight, self.bias), self.activation, self.normalize)


def graph_of(model: Distilled, modality: str) -> bytes:
    """The graph, serialized.

    Raises:
        RuntimeError: if torch cannot export the student.
    """
    import sgfd

    onnx = needed("onnx", "save_onnx")
    export: Any = torch.onnx.export
    student = model.student(modality)
    width = student.in_features
    lacking = torch.full((1, width), torch.nan, device=student.weight.device)
    mask = model._mask(modality)
    fill = new_rows(model._source(modality), modality, lacking, width, missing=mask)
    encoder = _Encoder(student, fill[0]).cpu().eval()
    given = (torch.zeros(2, width),)
    names: dict[str, Any] = {"input_names": ["raw"], "output_names": ["distilled"]}
    try:
        with _quiet():
            # The exporter of torch.export takes dynamic shapes since 2.6.
            if torch.__version__ >= "2.6":
                shapes = ({0: torch.export.Dim("items")},)
                program = export(
                    encoder,
                    given,
                    dynamo=True,
                    dynamic_shapes=shapes,
                    opset_version=_OPSET,
                    verbose=False,
                    **names,
                )
                proto = program.model_proto
            else:
                axes = {"raw": {0: "items"}, "distilled": {0: "items"}}
                file = io.BytesIO()
                export(encoder, given, file, dynamic_axes=axes, opset_version=_OPSET, **names)
                proto = onnx.load_from_string(file.getvalue())
    except Exception as error:  # of every kind: the exporter runs the activation, whatever it is
        raise RuntimeError(
            f"torch.onnx cannot export the student of {modality!r}, whose activation is "
            f"{describe(student.activation)}: {str(error).partition(chr(10))[0]}"
        ) from error
    # torch notes where in whose files each step was written, and that is nobody's business.
    for part in (
        *proto.graph.node,
        *proto.graph.input,
        *proto.graph.output,
        *proto.graph.value_info,
    ):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.helper.set_model_props(proto, {"sgfd": sgfd.__version__, "modality": modality})
    data: bytes = proto.SerializeToString(deterministic=True)
    return data


@contextmanager
def _quiet() -> Iterator[None]:
    """Without torch's remarks on its own exporters and on packages that are not needed."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
