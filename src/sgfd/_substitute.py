"""Students in the place of layers."""

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias, cast

from torch import nn

from sgfd._student import FeatureStudent, check_adoptable, hooks_of
from sgfd._teacher import SemanticTeacher

MakeStudent: TypeAlias = "Callable[[nn.Linear], FeatureStudent]"


def is_wrapped(backbone: nn.Module, distilled: type[nn.Module]) -> bool:
    """Whether a module is around a recommender: one that is ``distilled``, DDP, a compiled one."""
    wrappers = (distilled, nn.DataParallel, nn.parallel.DistributedDataParallel)
    return isinstance(backbone, wrappers) or hasattr(backbone, "_orig_mod")


def distillable(modality: str, path: str, layer: nn.Module) -> nn.Linear:
    """Checks that a student can take a layer's place."""
    where = f"The layer {path!r} (modality {modality!r})"
    if isinstance(layer, FeatureStudent):
        raise ValueError(
            f"{where} is a student already: a backbone can be distilled once, and again after "
            "unwrap(), but for students with an activation, unit rows or hooks, which stay."
        )
    check_adoptable(layer, where)
    return cast("nn.Linear", layer)


def makers(
    student: "MakeStudent | Mapping[str, MakeStudent]", layers: Mapping[str, nn.Linear]
) -> "dict[str, MakeStudent]":
    """What makes the student of each modality."""
    given = student if isinstance(student, Mapping) else dict.fromkeys(layers, student)
    if unknown := given.keys() - layers.keys():
        raise ValueError(
            f"student names modalities without features: {sorted(unknown)}. The features' "
            f"modalities are {list(layers)}."
        )
    make = {m: given.get(m, FeatureStudent.adopt) for m in layers}
    of: dict[nn.Linear, str] = {}
    for m, layer in layers.items():
        if not callable(make[m]) or isinstance(make[m], type):
            raise TypeError(
                "student must be a function that makes a student of a layer, such as "
                "FeatureStudent.adopt or paper_student, or {modality: function}; got "
                f"{make[m]!r} for {m!r}."
            )
        other = of.setdefault(layer, m)
        if make[m] != make[other]:
            raise ValueError(
                f"{other!r} and {m!r} are read through one layer, whose student must be one; got "
                f"{make[other]!r} and {make[m]!r}."
            )
    return make


def check_student(
    modality: str, student: FeatureStudent, layer: nn.Linear, teacher: SemanticTeacher
) -> None:
    """Checks what ``student=`` made of a layer."""
    if not isinstance(student, FeatureStudent) or student.weight is not layer.weight:
        raise TypeError(
            "student= must make a FeatureStudent that shares the layer's weight, as "
            f"FeatureStudent.adopt does; for {modality!r} it made {student!r}."
        )
    # Two functions cannot be compared, but whether there is one can.
    has = {"normalize": teacher.normalize, "activation": teacher.activation is not None}
    wants = {
        "normalize": student.embed_normalize,
        "activation": student.embed_activation is not None,
    }
    for setting, there in has.items():
        if there != wants[setting]:
            raise ValueError(
                f"Teacher and student must be comparable: the teacher has {setting}={there}, "
                f"the student of {modality!r} has embed_{setting}={wants[setting]}."
            )


def put(backbone: nn.Module, layers: Mapping[nn.Linear, nn.Linear]) -> None:
    """Replace each layer wherever it is registered."""
    for parent in list(backbone.modules()):
        # Straight into the table of submodules: setattr would not know a ModuleList's indices.
        for leaf, child in parent._modules.items():
            if isinstance(child, nn.Linear) and child in layers:
                parent._modules[leaf] = layers[child]


def take_back(backbone: nn.Module, students: Iterable[FeatureStudent]) -> None:
    """Put plain layers, of the same Parameters, where students compute nothing else."""
    layers: dict[nn.Linear, nn.Linear] = {}
    for student in students:
        function = (type(student), student.activation, student.normalize)
        if function == (FeatureStudent, None, False) and not hooks_of(student):
            bias = student.bias is not None
            layer = nn.Linear(student.in_features, student.out_features, bias, device="meta")
            layer.weight, layer.bias = student.weight, student.bias
            layers[student] = layer.train(student.training)
    put(backbone, layers)


def student_at(
    backbone: nn.Module, path: str, taken_back: FeatureStudent | None = None
) -> FeatureStudent:
    """The student that ``put`` left where a layer was.

    One that was taken back has the Parameters that the layer has now.
    """
    layer = backbone.get_submodule(path)
    if taken_back is not None and isinstance(layer, nn.Linear):
        taken_back.weight, taken_back.bias = layer.weight, layer.bias
        return taken_back
    if not isinstance(layer, FeatureStudent):
        raise TypeError(
            f"At {path!r} must be the student that distill() put there, or, after unwrap(), an "
            f"nn.Linear; got {type(layer).__qualname__}. Change the layer before distill(), or "
            "after the last use of what it returned; a recommender that is a layer itself has "
            "nowhere to put one."
        )
    return layer
