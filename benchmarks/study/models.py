"""The recommender of each arm. Within a seed all with the same features start alike."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import nn

from sgfd import (
    FeatureStudent,
    SemanticTeacher,
    backbones,
    distill,
    paper_student,
    release,
)
from sgfd._functional import Activation
from sgfd._seed import seeded
from sgfd._terms import ResponseDivergence
from sgfd.data import Dataset

from .grid import DIM, Params
from .inputs import behavior_labels
from .space import TAUGHT

# What the release's others have otherwise than its BM3; it has no VBPR.
PRESETS: dict[str, dict[str, Any]] = {
    "grcn": {"activation": None},
    "maml": {
        "activation": partial(F.leaky_relu, negative_slope=0.2),
        "normalize": False,
        "ratio": 2,
    },
}
STUDENTS = {"linear": FeatureStudent.adopt, "paper": paper_student}
WITHOUT = {"linear": "plain", "paper": "alone"}  # the arms that read them without a teacher
# Either half of the paper's without the other.
UNIT_ROWS = partial(FeatureStudent.adopt, normalize=True)
LEAKY_RELU = partial(FeatureStudent.adopt, activation=F.leaky_relu)


def plain(data: Dataset, backbone: str, params: Params, seed: int) -> backbones.Recommender:
    kinds = {
        "bm3": backbones.BM3,
        "grcn": backbones.GRCN,
        "maml": backbones.MAML,
        "vbpr": backbones.VBPR,
    }
    return kinds[backbone](
        data.train, data.features, dim=DIM, reg_weight=params["reg_weight"], seed=seed
    )


def alone(
    data: Dataset,
    backbone: str,
    params: Params,
    seed: int,
    *,
    student: Callable[[nn.Linear], FeatureStudent] = paper_student,
) -> backbones.Recommender:
    """The paper's student, LeakyReLU and unit rows, or another; and nothing that teaches it."""
    model = plain(data, backbone, params, seed)
    for m, layer in model.projections.items():
        model.projections[m] = student(layer)
    return model


def released(
    data: Dataset, backbone: str, params: Params, seed: int, *, taught: bool = True
) -> nn.Module:
    """With the release's teacher, student and loss; or with that student untaught."""
    preset = release.settings(
        data.widths,
        data.num_classes,
        out_features=DIM,
        weights=release.Weights(
            params["ce_weight"] * taught, params["kd_weight"] * taught, params["temperature"]
        ),
        **PRESETS.get(backbone, {}),
        seed=seed,
    )
    return distill(
        plain(data, backbone, params, seed),
        data.features,
        data.labels,
        num_classes=data.num_classes,
        seed=seed,
        **preset._asdict(),
    )


def default(
    data: Dataset, backbone: str, params: Params, seed: int, *, kd_weight: float
) -> nn.Module:
    """What ``distill`` gives to whoever says nothing, but for the weight."""
    model = distill(
        plain(data, backbone, params, seed),
        data.features,
        data.labels,
        num_classes=data.num_classes,
        seed=seed,
    )
    model.sgfd_loss.kd_weight = kd_weight
    return model


def with_cl_weight(
    data: Dataset,
    backbone: str,
    params: Params,
    seed: int,
    *,
    build: Callable[[Dataset, str, Params, int], backbones.Recommender],
    cl_weight: float,
) -> backbones.Recommender:
    """BM3, with another weight of its feature terms than 2."""
    model = build(data, backbone, params, seed)
    model.cl_weight = cl_weight
    return model


def taught(data: Dataset, backbone: str, params: Params, seed: int) -> nn.Module:
    """Ours on the paper's student, at the weights that ours tries first."""
    return ours(data, backbone, params | TAUGHT | {"student": "paper"}, seed)


def ours(
    data: Dataset,
    backbone: str,
    params: Params,
    seed: int,
    *,
    ce: bool = True,
    kd: bool = True,
    inner_activation: Activation | None = F.leaky_relu,
    fusion: bool | None = None,
    response: ResponseDivergence | None = None,
    detach_teacher: bool = True,
    behavior_beside: bool = False,
) -> nn.Module:
    """With this library's; the options switch one thing each off or over."""
    labels: Any = data.labels
    sizes: Any = data.num_classes
    if behavior_beside:
        other = behavior_labels(data, seed)
        labels = {"label": labels, "behavior": other.labels}
        sizes = {"label": sizes, "behavior": other.num_classes}
    with seeded(seed, stream=1):  # as distill() makes its own
        teacher = SemanticTeacher(
            data.widths,
            DIM,
            sum(sizes.values()) if behavior_beside else sizes,
            inner_activation=inner_activation,
            fusion=fusion,
        )
    model = distill(
        plain(data, backbone, params, seed),
        data.features,
        labels,
        num_classes=sizes,
        student=STUDENTS[params["student"]],
        teacher=teacher,
        seed=seed,
    )
    loss = model.sgfd_loss  # with the functions that fit the labels
    loss.ce_weight, loss.kd_weight = params["ce_weight"] * ce, params["kd_weight"] * kd
    loss.temperature, loss.detach_teacher = params["temperature"], detach_teacher
    if response is not None:
        loss.response = response
    return model
