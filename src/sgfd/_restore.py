"""A saved model around a backbone made anew, if the two fit."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from torch import Tensor, nn

from sgfd._checks import check_mapping
from sgfd._described import check_described, describe, rebuild_loss, rebuild_teacher, student_maker
from sgfd._features import FeatureSource, FeatureTable
from sgfd._loss import SGFDLoss
from sgfd._problems import ProjectionError
from sgfd._projections import find_projections
from sgfd._saved import Saved, read_folder
from sgfd._sources import as_source, width_of
from sgfd._student import FeatureStudent
from sgfd._substitute import MakeStudent, check_student, distillable, makers, put
from sgfd._teacher import SemanticTeacher


class Restored(NamedTuple):
    """What a ``Distilled`` is made of, by the names of its arguments, and its state dict."""

    parts: dict[str, Any]
    state: dict[str, Tensor]


def restore(
    folder: Path,
    backbone: nn.Module,
    features: "Mapping[str, FeatureSource | str]",
    *,
    items: Callable[..., Tensor] | None,
    student: "MakeStudent | Mapping[str, MakeStudent] | None",
    teacher: SemanticTeacher | None,
    loss: SGFDLoss | None,
    ignore: Collection[str],
) -> Restored:
    """Checks everything, then puts the students into the backbone. See ``from_pretrained``."""
    saved = read_folder(folder)
    said, paths = saved.content["model"], saved.content["students"]
    tensors = dict(saved.tensors)
    labels, missing = tensors.pop("_labels"), tensors.pop("_missing", None)
    _check_features(folder, features, saved)
    sources = {m: as_source(backbone, m, features[m], len(labels)) for m in paths}
    layers = _layers(folder, backbone, sources, saved)
    teacher = rebuild_teacher(said) if teacher is None else teacher
    loss = rebuild_loss(said) if loss is None else loss
    for name, part, kind in (("teacher", teacher, SemanticTeacher), ("loss", loss, SGFDLoss)):
        if not isinstance(part, kind):
            raise TypeError(
                f"{name} must be of class {kind.__name__}; got {type(part).__qualname__}."
            )
    made = _students(student, said, layers)
    students = {m: made[layer] for m, layer in layers.items()}
    for m, layer in layers.items():
        check_student(m, students[m], layer, teacher)
    weight = next(iter(layers.values())).weight
    teacher = teacher.to(weight)
    here = {f"backbone.{name}": x for name, x in backbone.state_dict(keep_vars=True).items()}
    owned: dict[str, nn.Module] = {"teacher": teacher, "sgfd_loss": loss}
    owned |= {f"backbone.{paths[m]}": students[m] for m in paths}
    owned |= {f"_tables.{m}": x for m, x in sources.items() if isinstance(x, FeatureTable)}
    for prefix, module in owned.items():
        here |= {f"{prefix}.{k}": x for k, x in module.state_dict(keep_vars=True).items()}
    _drop_spare_names(tensors, saved.content["weights"]["shared"], here)
    _check_state(f"{folder}, saved from a {saved.content['backbone']},", backbone, tensors, here)
    _check_order(folder, saved.content["order"], list(backbone.state_dict()))
    described = describe(backbone, teacher, loss, students, sources, set(layers.values()))
    check_described(folder, said, described, ignore)
    method = saved.content["loss_method"]
    items = _items(backbone, method, items)
    put(backbone, made)
    parts = {
        "backbone": backbone,
        "teacher": teacher,
        "loss": loss,
        "projections": paths,
        "sources": sources,
        "labels": labels.to(weight.device),
        "missing": None if missing is None else missing.to(weight.device),
        "items": items,
        "loss_method": method,
    }
    return Restored(parts, tensors)


def _check_features(folder: Path, features: Mapping[str, object], saved: Saved) -> None:
    check_mapping("features", features)
    paths, live = saved.content["students"], saved.content["live_features"]
    if features.keys() != paths.keys():
        raise ValueError(
            f"features must have exactly the modalities that {folder} was saved with, "
            f"{list(paths)}; got {list(features)}."
        )
    for m, source in features.items():
        path = source if isinstance(source, str) else None
        if path != live.get(m):
            was = f"read live, {{{m!r}: {live[m]!r}}}" if m in live else "a tensor or an array"
            got = repr(path) if path else type(source).__qualname__
            raise ValueError(
                f"features[{m!r}] must be what {folder} was saved with, {was}; got {got}."
            )


def _layers(
    folder: Path, backbone: nn.Module, sources: "dict[str, FeatureTable | str]", saved: Saved
) -> dict[str, nn.Linear]:
    """The layers where the students were, of the widths that they had."""
    said, paths = saved.content["model"], saved.content["students"]
    widths = {m: width_of(backbone, source) for m, source in sources.items()}
    for m, width in said["teacher.in_features"].items():
        if widths[m] != width:
            raise ValueError(
                f"features[{m!r}] must have the width that {folder} was saved with, {width}; got "
                f"{widths[m]}."
            )
    try:
        find_projections(backbone, widths, projections=paths)
    except ProjectionError as error:
        raise type(error)(
            f"{folder} was saved from a {saved.content['backbone']} with students at {paths}, and "
            f"this {type(backbone).__qualname__} has no layers for them there: {error}"
        ) from None
    return {m: distillable(m, path, backbone.get_submodule(path)) for m, path in paths.items()}


def _students(
    given: "MakeStudent | Mapping[str, MakeStudent] | None",
    said: Mapping[str, Any],
    layers: dict[str, nn.Linear],
) -> dict[nn.Linear, FeatureStudent]:
    """A student of each layer, as handed in or else as described."""
    if given is None:
        given = {}
    make = dict(given) if isinstance(given, Mapping) else dict.fromkeys(layers, given)
    # By layer: two modalities that are read through one have one student.
    rebuilt = {layer: student_maker(m, said) for m, layer in layers.items() if m not in make}
    make |= {m: rebuilt[layer] for m, layer in layers.items() if m not in make}
    made = makers(make, layers)
    return {layer: made[m](layer) for m, layer in layers.items()}


def _drop_spare_names(
    tensors: dict[str, Tensor], shared: Mapping[str, str], here: Collection[str]
) -> None:
    """Leaves out further names of tensors that are here: some models add such in training."""
    there = {shared.get(name, name) for name in here}
    for name in tensors.keys() - here:
        if shared.get(name, name) in there:
            del tensors[name]


def _check_state(
    name: str, backbone: nn.Module, saved: Mapping[str, Tensor], here: Mapping[str, Any]
) -> None:
    problems = [
        f"  {name}: {_shape(saved.get(name))} in the file, {_shape(here.get(name))} here"
        for name in {**here, **saved}
        if _shape(saved.get(name)) != _shape(here.get(name))
    ]
    if not problems:
        return
    if len(problems) > 8:
        problems[8:] = [f"  and {len(problems) - 8} more"]
    dtypes = {x.dtype for x in saved.values() if x.is_floating_point()}
    advice = "Build the backbone with the data, arguments and modalities that it had"
    if len(dtypes) == 1 and next(iter(dtypes)) not in {
        x.dtype for x in backbone.state_dict().values() if isinstance(x, Tensor)
    }:
        advice += f", and convert it first: backbone.to({dtypes.pop()})"
    raise ValueError(
        f"{name} does not fit this {type(backbone).__qualname__}:\n"
        + "\n".join(problems)
        + f"\n{advice}."
    )


def _shape(x: object) -> str:
    if not isinstance(x, Tensor):
        return "nothing" if x is None else type(x).__qualname__
    return f"{tuple(x.shape)} {str(x.dtype).removeprefix('torch.')}"


def _check_order(folder: Path, saved: list[str], here: list[str]) -> None:
    """Layers that were made in another order may, with equal shapes, be another function."""
    both = [(a, b) for a, b in zip((x for x in saved if x in here), here, strict=True) if a != b]
    if both:
        raise ValueError(
            f"{folder} was saved from a backbone whose parts come in another order: {both[0][0]} "
            f"where here {both[0][1]} comes. Give it its modalities in the order that they had."
        )


def _items(
    backbone: nn.Module, method: str | None, items: Callable[..., Tensor] | None
) -> Callable[..., Tensor] | None:
    if items is None:
        own = getattr(backbone, "items_of", None) if method == "forward" else None
        return cast("Callable[..., Tensor] | None", own)
    if method is None:
        raise ValueError(
            "items goes with a loss_method, and the model was saved without: leave it out, and "
            "add model.distillation_loss(items) in your own loop."
        )
    if not callable(items) or not callable(getattr(backbone, method, None)):
        raise TypeError(
            f"items must be a function of the arguments of the backbone's {method}(), which must "
            f"be there; got items={items!r} and a {type(backbone).__qualname__}."
        )
    return items
