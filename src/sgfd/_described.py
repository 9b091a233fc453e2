"""A distilled model said in plain values, made again from them, and compared with another."""

import json
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

from torch import Tensor, nn

from sgfd._features import FeatureTable
from sgfd._fingerprint import (
    backbone_settings,
    dtype_name,
    fingerprint,
    stored_tensors,
    table_fingerprint,
)
from sgfd._loss import SGFDLoss
from sgfd._named import CustomFunctionError, decode, encode, readable
from sgfd._seed import seeded
from sgfd._sources import live
from sgfd._student import FeatureStudent
from sgfd._teacher import SemanticTeacher

_TEACHER = ("inner_activation", "activation", "normalize", "fusion_activation")
_STUDENT = ("activation", "normalize", "embed_activation", "embed_normalize")
_LOSS = (
    *("ce_weight", "kd_weight", "temperature", "detach_teacher"),
    *("classification", "fusion", "response", "feature"),
)

_NOTHING = object()

T = TypeVar("T")


def describe(
    backbone: nn.Module,
    teacher: SemanticTeacher,
    loss: SGFDLoss,
    students: Mapping[str, FeatureStudent],
    sources: "Mapping[str, FeatureTable | str]",
    layers: "Collection[nn.Module]",
) -> dict[str, Any]:
    """Everything that is not in a state dict, by dotted name, as JSON.

    Args:
        backbone: the recommender, with its students or before.
        teacher: its teacher.
        loss: its distillation loss.
        students: by modality.
        sources: of the raw features.
        layers: what is where the students are, or will be.
    """
    stored = stored_tensors(backbone)
    said = {f"backbone.{k}": v for k, v in backbone_settings(backbone, layers).items()}
    hashed = {module: said.get(f"backbone.{path}") for path, module in backbone.named_modules()}
    for m, source in sources.items():
        value = live(backbone, source) if isinstance(source, str) else source
        if isinstance(value, Tensor) and id(value) not in stored:
            said[f"features.{m}"] = fingerprint(value)
        elif isinstance(value, FeatureTable) and id(value.values) not in stored:
            dtype, known = students[m].weight.dtype, hashed.get(value)
            if known is None or known["dtype"] != dtype_name(dtype):
                known = table_fingerprint(value, dtype)
            said[f"features.{m}"] = known
    chains = cast("dict[str, list[nn.Linear]]", teacher.extractors)
    hidden = {m: [layer.out_features for layer in chains[m]][:-1] for m in teacher.in_features}
    sizes = {
        "in_features": teacher.in_features,
        "out_features": teacher.out_features,
        "num_classes": teacher.num_classes,
        "hidden_features": hidden,
        "fusion": teacher.fusion_transfer is not None,
    }
    said |= _settings("teacher", teacher, _TEACHER, sizes)
    for m, student in students.items():
        said |= _settings(f"students.{m}", student, _STUDENT)
    return said | _settings("loss", loss, _LOSS)


def rebuild_teacher(said: Mapping[str, Any]) -> SemanticTeacher:
    """An untrained teacher as it is described; torch's generator is left as it was."""
    with seeded(0):
        return _rebuild("teacher", "teacher", said, SemanticTeacher, SemanticTeacher)


def rebuild_loss(said: Mapping[str, Any]) -> SGFDLoss:
    """The loss as it is described."""
    return _rebuild("loss", "loss", said, SGFDLoss, SGFDLoss)


def student_maker(modality: str, said: Mapping[str, Any]) -> Callable[..., FeatureStudent]:
    """What makes a modality's student of a layer, as it is described."""

    def maker(**settings: Any) -> Callable[..., FeatureStudent]:
        return partial(FeatureStudent.adopt, **settings)

    return _rebuild("student", f"students.{modality}", said, FeatureStudent, maker)


def _settings(
    part: str, module: nn.Module, names: Collection[str], more: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    values = {"class": type(module).__name__, **(more or {})}
    values |= {name: getattr(module, name) for name in names}
    return {f"{part}.{name}": encode(value) for name, value in values.items()}


def _rebuild(
    argument: str,
    part: str,
    said: Mapping[str, Any],
    kind: type,
    make: Callable[..., T],
) -> T:
    settings = {
        name.removeprefix(f"{part}."): value
        for name, value in said.items()
        if name.startswith(f"{part}.")
    }
    try:
        if (its := settings.pop("class")) != kind.__name__:
            raise CustomFunctionError(its)
        return make(**{name: decode(value) for name, value in settings.items()})
    except CustomFunctionError as error:
        raise ValueError(
            f"The model was saved with {error.args[0]!r} in its {part}, which is not of torch's "
            f"or sgfd's that a file can bring back: pass {argument}=, made as it was for distill()."
        ) from None


def check_described(
    folder: Path, saved: Mapping[str, Any], here: Mapping[str, Any], ignore: Collection[str]
) -> None:
    """Raises ValueError if two descriptions differ.

    A plain value that only one of them has is no difference: torch's own modules get new ones
    with new versions. A tensor is: the recommender keeps what it computed in training.
    """
    if isinstance(ignore, str) or (unknown := set(ignore) - saved.keys() - here.keys()):
        raise ValueError(
            "ignore must be a list of names such as 'backbone.num_layers', as the error about "
            f"them gives them; got {ignore if isinstance(ignore, str) else sorted(unknown)}."
        )
    differ = [
        name
        for name in {**saved, **here}
        if name not in ignore and not _same(saved.get(name, _NOTHING), here.get(name, _NOTHING))
    ]
    if differ:
        lines = [
            f"  {name}: {_text(saved.get(name, _NOTHING))} in the file, "
            f"{_text(here.get(name, _NOTHING))} here"
            for name in differ[:8]
        ] + [f"  and {len(differ) - 8} more"] * (len(differ) > 8)
        raise ValueError(
            f"{folder} was saved from another model than this:\n" + "\n".join(lines) + "\nBuild "
            "the backbone from the interactions, features and arguments that it had, and hand in "
            "what was handed to distill(). Where a difference is meant, or a recommender's own "
            f"doing in training, pass ignore={differ}."
        )


def _same(a: Any, b: Any) -> bool:
    if _NOTHING in (a, b):
        return not any(isinstance(x, dict) and "shape" in x for x in (a, b))
    in_order = not isinstance(a, dict) or not isinstance(b, dict) or list(a) == list(b)
    # NaN is not equal to itself, but its text is.
    return in_order and bool(a == b or json.dumps(a) == json.dumps(b))


def _text(value: Any) -> str:
    if value is _NOTHING:
        return "nothing"
    if isinstance(value, dict) and "sha256" in value:
        shape = f"{tuple(value['shape'])} {value['dtype']}, " if "shape" in value else ""
        return f"[{shape}SHA-256 {value['sha256'][:12]}...]"
    text = readable(value)
    return text if len(text) <= 100 else text[:97] + "..."
