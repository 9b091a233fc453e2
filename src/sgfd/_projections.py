"""Finding the layers through which a recommender reads raw features."""

import re
from collections.abc import Mapping

from torch import nn

from sgfd._checks import check_integer, check_mapping
from sgfd._functional import check_modalities
from sgfd._problems import AmbiguousLayerError, NoLayerError, ProjectionError


def find_projections(
    backbone: nn.Module,
    widths: Mapping[str, int],
    *,
    projections: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Dotted paths of the ``nn.Linear`` layers that read raw features.

    A modality's layer is the only one whose ``in_features`` is the modality's width. Where
    several have that width, it is the only one among them with the modality's name as a part of
    its path (``projections.image`` for ``image``) or, if those layers are as many as the
    modalities of that width, as a word in it (``image_trs``). Anything less certain is an error.

    Args:
        backbone: the recommender.
        widths: ``{modality: F_m}``.
        projections: ``{modality: path}`` for modalities whose layer is to be named, not found.

    Returns:
        ``{modality: path}``; of a layer registered under several paths, the first.

    Raises:
        NoLayerError: if no layer has a modality's width, or the one that is named has not.
        AmbiguousLayerError: if which of several it is, or for which modality, is not certain.
        TypeError: for arguments of other types.
        ProjectionError: which both of these are, if ``projections`` names another modality.

    Example:
        >>> import torch
        >>> from sgfd import find_projections
        >>> model = torch.nn.ModuleDict({"visual": torch.nn.Linear(512, 64)})
        >>> find_projections(model, {"image": 512})
        {'image': 'visual'}
    """
    if not isinstance(backbone, nn.Module):
        raise TypeError(f"backbone must be an nn.Module; got {type(backbone).__qualname__}.")
    check_mapping("widths", widths)
    for m, width in widths.items():
        check_integer(f"widths[{m!r}]", width, at_least=1)
    check_modalities(widths)
    check_mapping("projections", {} if projections is None else projections)
    given = dict(projections or {})
    if unknown := given.keys() - widths.keys():
        raise ProjectionError(
            f"projections names modalities without features: {sorted(unknown)}. "
            f"The features' modalities are {list(widths)}."
        )
    found: dict[str, str] = {}
    for m, width in widths.items():
        if m in given:
            _check_named(backbone, m, width, given[m])
            found[m] = given[m]
        else:
            found[m] = _find(backbone, m, widths)
    taken: dict[nn.Module, str] = {}
    for m in widths:
        layer = backbone.get_submodule(found[m])
        other = taken.setdefault(layer, m)
        if other != m and not (m in given and other in given):
            raise AmbiguousLayerError(
                f"{found[m]!r} is the only nn.Linear of a width that {other!r} and {m!r} share. "
                f"If both are read through it, say so: projections={{{other!r}: {found[m]!r}, "
                f"{m!r}: {found[m]!r}}}; if their concatenation is, pass it as one modality."
                + _candidates(backbone)
            )
    return found


def _find(backbone: nn.Module, modality: str, widths: Mapping[str, int]) -> str:
    width = widths[modality]
    paths: dict[nn.Module, str] = {}
    by_part: dict[nn.Module, str] = {}
    by_word: dict[nn.Module, str] = {}
    for path, module in backbone.named_modules(remove_duplicate=False):
        if isinstance(module, nn.Linear) and module.in_features == width:
            paths.setdefault(module, path)
            if modality in path.split("."):
                by_part.setdefault(module, path)
            if modality.lower() in re.split(r"[._]", path.lower()):
                by_word.setdefault(module, path)
    certain = [paths, by_part]
    if len(paths) == list(widths.values()).count(width):  # no dead twin among them
        certain.append(by_word)
    for matches in certain:
        if len(matches) == 1:
            return next(iter(matches.values()))
    features = f"features[{modality!r}] (width {width})"
    if paths:
        raise AmbiguousLayerError(
            f"Which layer reads {features} is not certain: {len(paths)} layers have that width. "
            f"Name it: projections={{{modality!r}: '<path>'}}." + _candidates(backbone)
        )
    raise NoLayerError(
        f"No layer reads {features}: no nn.Linear has that in_features."
        + _concatenated(backbone, widths)
        + _candidates(backbone)
    )


def _concatenated(backbone: nn.Module, widths: Mapping[str, int]) -> str:
    """What to do where one layer has the width of all modalities together."""
    message = ""
    together = sum(widths.values())
    for path, module in backbone.named_modules():
        if isinstance(module, nn.Linear) and module.in_features == together and len(widths) > 1:
            message += (
                f" {path!r} has the width of {' and '.join(widths)} together: if it reads them "
                "concatenated, pass the concatenation, in its order, as one modality (or the "
                "dotted path where the model keeps it)."
            )
    return message


def _check_named(backbone: nn.Module, modality: str, width: int, path: str) -> None:
    try:
        module = backbone.get_submodule(path)
    except AttributeError:
        raise NoLayerError(
            f"projections[{modality!r}] = {path!r} is not a module of the backbone."
            + _candidates(backbone)
        ) from None
    if not isinstance(module, nn.Linear) or module.in_features != width:
        raise NoLayerError(
            f"projections[{modality!r}] must be an nn.Linear with in_features {width}, the width "
            f"of features[{modality!r}]; {path!r} is {module}." + _candidates(backbone)
        )


def _candidates(backbone: nn.Module) -> str:
    """Every layer that could be meant, and every bare parameter that could not."""
    lines = [
        f"  {path}: nn.LazyLinear, of no width yet (run the recommender once before distill())"
        if isinstance(module, nn.LazyLinear)
        else f"  {path}: nn.Linear {module.in_features} -> {module.out_features}"
        for path, module in backbone.named_modules(remove_duplicate=False)
        if isinstance(module, nn.Linear)
    ] or ["  (no nn.Linear at all)"]
    owned = {
        id(p)
        for module in backbone.modules()
        if isinstance(module, (nn.Linear, nn.Embedding))
        for p in module.parameters(recurse=False)
    }
    bare = [
        f"  {name}: nn.Parameter {tuple(p.shape)}"
        for name, p in backbone.named_parameters()
        if p.ndim == 2 and id(p) not in owned
    ]
    text = "\nThe layers there are:\n" + "\n".join(lines)
    if bare:
        text += (
            "\nBare parameters cannot be replaced (give such a model the features that "
            "Distilled.export() of another recommender writes, or put its matrix in an "
            "nn.Linear):\n" + "\n".join(bare)
        )
    return text
