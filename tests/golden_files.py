"""The numbers of the authors' released code, and how its parameters map to ours."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from devices import DEVICES
from torch import Tensor, nn

FOLDER = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True, params=DEVICES)
def on_each_device(request: pytest.FixtureRequest) -> Iterator[None]:
    """To be imported by a module of golden tests: its tensors are made there."""
    if request.param == "cpu":
        yield
        return
    torch.set_default_device(request.param)
    yield
    torch.set_default_device(None)  # after which torch 2.4 fails to say what the default is


def load(name: str) -> dict[str, Any]:
    """A golden file: float arrays as float64 tensors, integers as int64 tensors or ints."""

    def convert(x: np.ndarray) -> Any:
        if x.ndim == 0:
            return x.item()
        tensor = torch.from_numpy(x).to(torch.get_default_device())
        return tensor.double() if tensor.is_floating_point() else tensor.long()

    with np.load(FOLDER / f"{name}.npz", allow_pickle=False) as file:
        return {key: convert(file[key]) for key in file.files}


def prefixed(golden: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    """The entries that begin with ``prefix``, without it."""
    return {k.removeprefix(prefix): v for k, v in golden.items() if k.startswith(prefix)}


def linear_(layer: nn.Linear, weight: Tensor, bias: Tensor) -> None:
    """Set a layer's parameters, keeping the Parameters that optimizers and students hold."""
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.bias.copy_(bias)


def parameters_of(modules: Mapping[str, nn.Module]) -> dict[str, nn.Parameter]:
    """``{"<golden prefix>.weight": parameter}`` for modules under their golden names."""
    return {
        f"{name}.{leaf}": parameter
        for name, module in modules.items()
        for leaf, parameter in module.named_parameters(recurse=False)
    }


def assign(parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor]) -> None:
    """Copy golden parameters into ours; every one on each side must be met."""
    assert parameters.keys() == values.keys(), parameters.keys() ^ values.keys()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(values[name])


def assert_gradients(
    parameters: Mapping[str, nn.Parameter], values: Mapping[str, Tensor], tolerance: float = 1e-10
) -> None:
    """Every gradient equals the golden one."""
    assert parameters.keys() == values.keys(), parameters.keys() ^ values.keys()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        torch.testing.assert_close(
            parameter.grad,
            values[name],
            rtol=tolerance,
            atol=tolerance,
            msg=lambda m, n=name: f"{n}: {m}",
        )


def close(actual: Tensor, expected: Tensor | float, tolerance: float = 1e-10) -> None:
    """Equal to ``tolerance``, relative and absolute, in float64."""
    expected = torch.as_tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance)


def extractor(teacher: nn.Module, student: nn.Module, modality: str) -> dict[str, nn.Module]:
    """A release feature extractor's modules under their golden names."""
    layers = teacher.extractors[modality]
    return {
        "category_classification": teacher.classifiers[modality],
        "student_model.MLP": student,
        **{f"teacher_model.transfer_multilayer.{i}": layer for i, layer in enumerate(layers)},
    }


def fusion(teacher: nn.Module) -> dict[str, nn.Module]:
    """The release's fusion head under its golden names."""
    return {
        "feature_transfer_layer": teacher.fusion_transfer,
        "category_classification": teacher.fusion_classifier,
    }
