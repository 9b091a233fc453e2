"""Putting students into a recommender."""

import warnings
from collections.abc import Callable, Mapping
from typing import cast

import numpy as np
from torch import Tensor, nn

from sgfd._checks import check_mapping
from sgfd._distilled import Distilled
from sgfd._features import FeatureSource
from sgfd._loss import SGFDLoss
from sgfd._projections import find_projections
from sgfd._seed import seeded
from sgfd._sources import as_source, check_lengths, missing_masks, width_of
from sgfd._student import FeatureStudent
from sgfd._substitute import MakeStudent, check_student, distillable, is_wrapped, makers, put
from sgfd._targets import ItemLabels, check_fit, count_classes, default_loss, read_labels
from sgfd._teacher import SemanticTeacher


def distill(
    backbone: nn.Module,
    features: "Mapping[str, FeatureSource | str]",
    labels: "ItemLabels | Mapping[str, ItemLabels]",
    *,
    missing: "Mapping[str, Tensor | np.ndarray] | None" = None,
    projections: Mapping[str, str] | None = None,
    items: Callable[..., Tensor] | None = None,
    loss_method: str | None = None,
    student: "MakeStudent | Mapping[str, MakeStudent]" = FeatureStudent.adopt,
    teacher: SemanticTeacher | None = None,
    loss: SGFDLoss | None = None,
    num_classes: int | Mapping[str, int] | None = None,
    seed: int = 0,
) -> Distilled:
    """Put students into a recommender, and a teacher and the distillation loss around it.

    The layers through which the recommender reads raw features are replaced in place by students
    that share their very Parameters, so its state-dict keys, and an optimizer made before, stay
    good. That optimizer does not know the teacher: add ``model.teacher.parameters()`` to it, or
    make it afterwards from ``model.parameters()``.

    ``torch.compile`` and ``DistributedDataParallel`` go around the result, the latter with
    ``broadcast_buffers=False`` (``forward_sync_buffers=False`` from torch 2.13 on): it would send
    raw features, which are buffers, to every process at every step. More is in
    docs/composing.md, and what to do about errors and warnings in docs/troubleshooting.md.

    Args:
        backbone: the recommender: one of ours, or any module with an ``nn.Linear`` per modality.
            Of ours (``forward(batch)`` is the loss, ``items_of(batch)`` names its items)
            nothing else need be said.
        features: ``{modality: raw features (num_items, F_m)}``, floating: a tensor, an array, a
            ``numpy.memmap``, or the dotted path of a tensor, parameter or embedding to read live
            from the backbone. A path saves a copy on a GPU, and is what a backbone that trains
            its raw features needs; the distillation loss then trains them too. A row of NaN
            throughout says that the item lacks the modality: it takes no part in its terms, and
            ours read it as the mean of the rows that are there.
        labels: semantic labels, of one of three kinds. One per item, (num_items,): class indices
            with -1 for unknown, or strings with None for unknown (then ``encode_labels`` gives
            the indices; integers stay what they are), by position: a pandas Series in another
            order than its index is refused. Multi-hot, (num_items, C): 1 where an item
            has the class, 0 where not, a row of -1 where unknown. A hierarchy, ``{level: labels
            one per item}``.
        missing: ``{modality: (num_items,) bool}``, True where the item lacks it, for features
            that say so otherwise than by NaN. What stands there is read all the same.
        projections: ``{modality: dotted path}`` of layers that are not to be found by width.
        items: called with the arguments of the training loss, before it runs; returns the item
            indices of the batch.
        loss_method: name of the backbone's training loss, for example ``"calculate_loss"``; that
            method of the result adds the distillation loss. Without it, and not one of ours, add
            ``model.distillation_loss(items)`` in your own loop.
        student: makes a student of a layer: one function for all, or ``{modality: function}``,
            the default for those left out. The default keeps the layer's function to the bit
            and only distils; ``paper_student`` gives it the paper's LeakyReLU and unit rows,
            which by themselves made VBPR 11, 7 and 1 % better on three real datasets and 7 % worse
            on a fourth, BM3 5 % worse on the first, 4 and 6 % better on the next two and on the
            fourth not shown to be other (with a tenth of its ``cl_weight`` level on the first and
            7 % worse on the third), GRCN 4 % worse on the first, MAML 5 and 7 % on the first two
            (docs/study.md): compare.
            ``partial(FeatureStudent.adopt, normalize=True)`` gives it unit rows and no LeakyReLU.
        teacher: None for a ``SemanticTeacher`` with its defaults, of the students' widths.
        loss: None for an ``SGFDLoss`` with its default weights and the functions that fit the
            labels: those of one label, of multi-hot labels, or of a ``hierarchy``.
        num_classes: None for the largest label + 1 (or the teacher's); of a hierarchy
            ``{level: classes}``.
        seed: of the teacher's initial parameters; torch's generator is left as it was.

    Returns:
        The recommender with its students, teacher and loss.

    Raises:
        ProjectionError: if a layer is not found (``NoLayerError``) or not certain
            (``AmbiguousLayerError``); the message lists candidates.
        ValueError: for features, labels or options that do not fit each other, for layers
            with hooks, which a replacement would drop, and for layers on the meta device.
        TypeError: for layers that are not exactly ``nn.Linear``, and for arguments of other types.

    Warns:
        UserWarning: if the recommender has attributes that the result's own hide (``encode``, say).
        DistillationWarning: later, in the first steps, for what docs/troubleshooting.md lists.

    Example:
        >>> from sgfd import distill
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = distill(VBPR(data.train, data.features), data.features, data.labels)
        >>> model.student_paths
        {'image': 'projections.image', 'text': 'projections.text'}
    """
    if not isinstance(backbone, nn.Module):
        raise TypeError(
            f"backbone must be an nn.Module, the recommender itself; got {_name(backbone)}."
        )
    if is_wrapped(backbone, Distilled):
        raise ValueError(
            f"distill() takes the recommender itself; got {type(backbone).__qualname__}. Distil "
            "once, and wrap the result: DistributedDataParallel(distill(...)), "
            "torch.compile(distill(...))."
        )
    check_mapping("features", features)
    if loss is not None and not isinstance(loss, SGFDLoss):
        raise TypeError(
            f"loss must be an SGFDLoss, whose functions may be your own; got {_name(loss)}. The "
            "recommendation loss stays the backbone's: name its method by loss_method=."
        )
    if teacher is not None and not isinstance(teacher, SemanticTeacher):
        raise TypeError(f"teacher must be a SemanticTeacher; got {_name(teacher)}.")
    targets = read_labels(labels)
    num_items = len(targets.labels)
    check_lengths(features, num_items)
    sources = {m: as_source(backbone, m, source, num_items) for m, source in features.items()}
    widths = {m: width_of(backbone, source) for m, source in sources.items()}
    found = find_projections(backbone, widths, projections=projections)
    layers = {m: distillable(m, path, backbone.get_submodule(path)) for m, path in found.items()}
    outs = {m: layer.out_features for m, layer in layers.items()}
    if loss_method is None and items is None and hasattr(backbone, "items_of"):
        loss_method, items = "forward", cast("Callable[..., Tensor]", backbone.items_of)
    _check_loss(backbone, loss_method, items)
    taught = None if teacher is None else teacher.num_classes
    sizes = count_classes(targets, num_classes, taught=taught)
    if teacher is None:
        with seeded(seed, stream=1):
            teacher = SemanticTeacher(widths, outs, sum(sizes))
    elif (teacher.in_features, teacher.out_features) != (widths, outs):
        raise ValueError(
            f"The teacher must read {widths} and give {outs}, as the students do; it reads "
            f"{teacher.in_features} and gives {teacher.out_features}."
        )
    weight = next(iter(layers.values())).weight
    if weight.is_meta:
        raise ValueError(
            "backbone must have its parameters before distill(); they are on the meta device, and "
            "to_empty() would empty labels and features too. Call it, and initialize, first."
        )
    if loss is None:
        loss = default_loss(targets, sizes)
    check_fit(loss, targets, sizes, weight)
    masks = missing_masks(missing, list(found), num_items)
    make = makers(student, layers)
    students = {layer: make[m](layer) for m, layer in layers.items()}
    for m, layer in layers.items():
        check_student(m, students[layer], layer, teacher)
    _warn_of_hidden(backbone)  # which may be an error, so before anything is changed
    put(backbone, students)
    return Distilled(
        backbone,
        teacher.to(weight),
        loss,
        projections=found,
        sources=sources,
        labels=targets.labels.to(weight.device),
        missing=None if masks is None else masks.to(weight.device),
        items=items,
        loss_method=loss_method,
    )


def _name(value: object) -> str:
    return type(value).__qualname__


def _warn_of_hidden(backbone: nn.Module) -> None:
    ours = {*dir(Distilled), "teacher", "sgfd_loss", "student_paths", "backbone"}
    ours -= {*dir(nn.Module), *dir(object)}
    names = [name for name in sorted(ours) if name[0] != "_" and hasattr(backbone, name)]
    if names:
        warnings.warn(
            f"The recommender has {', '.join(map(repr, names))}, and what distill() returns has "
            "its own by that name, which hides it: the recommender's is at "
            f"model.backbone.{names[0]}.",
            stacklevel=3,
        )


def _check_loss(
    backbone: nn.Module, loss_method: str | None, items: Callable[..., Tensor] | None
) -> None:
    if (loss_method is None) != (items is None):
        raise ValueError(
            "loss_method= and items= go together: which method is the training loss, and which "
            f"items its arguments name; got loss_method={loss_method!r}, items={items!r}."
        )
    if loss_method is None:
        return
    if not isinstance(loss_method, str) or not callable(items):
        raise TypeError(
            "loss_method must be the name of a method and items a function of its arguments; got "
            f"loss_method={loss_method!r}, items={items!r}."
        )
    if not callable(getattr(backbone, loss_method, None)):
        raise ValueError(f"loss_method {loss_method!r} is not a method of the backbone.")
    if loss_method != "forward" and hasattr(Distilled, loss_method):
        raise ValueError(
            f"loss_method {loss_method!r} is also a method of Distilled, which would hide it: "
            "give the backbone's loss another name, or add distillation_loss(items) yourself."
        )
