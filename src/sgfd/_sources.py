"""Where raw features come from: a table, or the recommender itself by a dotted path."""

from collections.abc import Iterable, Mapping
from operator import attrgetter

import numpy as np
import torch
from torch import Tensor, nn

from sgfd._checks import check_integer, check_mapping, check_order
from sgfd._features import FeatureSource, FeatureTable, as_tensor, checked_shape
from sgfd._rows import Rows, mean_row, missing_rows
from sgfd._tensor_checks import check_held

# Rows of wide features that, cast to float32, a processor's last cache holds.
CHUNK = 1024


def live(backbone: nn.Module, path: str) -> "Tensor | FeatureTable":
    """What is at a dotted path of the backbone: a tensor (an embedding's weight) or a table."""
    table, _, leaf = path.rpartition(".")
    try:
        value = attrgetter(path)(backbone)
        if leaf == "values" and table:
            parent = attrgetter(table)(backbone)
            value = parent if isinstance(parent, FeatureTable) else value  # which knows its gaps
    except AttributeError as error:
        raise ValueError(
            f"Features given as a string are the dotted path of a tensor of the backbone; {path!r} "
            f"is none: {error}."
        ) from None
    value = value.weight if isinstance(value, nn.Embedding) else value
    if not isinstance(value, (Tensor, FeatureTable)):
        raise TypeError(
            f"The path {path!r} must lead to a (num_items, width) tensor, nn.Parameter or "
            f"nn.Embedding of the backbone; got {type(value).__qualname__}."
        )
    return value


def live_shape(backbone: nn.Module, path: str) -> tuple[int, int]:
    """Its shape, checked."""
    value = live(backbone, path)
    if isinstance(value, FeatureTable):
        return value.num_rows, value.width
    name = f"The tensor at {path!r}"
    shape = checked_shape(value, name, None)
    if missing_rows(value, name) is not None:
        raise ValueError(
            f"{name} has rows of NaN, which the recommender would read: fill them there, and say "
            "with missing= which they are."
        )
    return shape


def check_lengths(features: "Mapping[str, FeatureSource | str]", num_labels: int) -> None:
    """Raises ValueError where all features have one number of rows, and there are other labels."""
    shapes = [tuple(getattr(x, "shape", ())) for x in features.values()]  # some have no len()
    lengths = {shape[0] for shape in shapes if len(shape) == 2}
    if len(lengths) == 1 and lengths != {num_labels}:
        raise ValueError(
            f"There must be one label and one row of features for each item; got {num_labels} "
            f"labels, and features of {lengths.pop()} rows."
        )


def as_source(
    backbone: nn.Module, modality: str, source: "FeatureSource | str", num_items: int
) -> FeatureTable | str:
    """A source of features as ``distill`` is given it, checked: a path, or a table."""
    name = f"features[{modality!r}]"
    if isinstance(source, str):
        rows, _ = live_shape(backbone, source)
        if rows != num_items:
            raise ValueError(
                f"{name} = {source!r} must have one row per label ({num_items}); got {rows} rows."
            )
        return source
    table = FeatureTable(source, name=name, num_rows=num_items)
    for module in backbone.modules():
        # One of ours that was given the same features: two tables would be two copies on a GPU.
        if isinstance(module, FeatureTable) and module.same_as(table):
            return module
    return table


def width_of(backbone: nn.Module, source: FeatureTable | str) -> int:
    """How wide the features are."""
    return source.width if isinstance(source, FeatureTable) else live_shape(backbone, source)[1]


def missing_masks(
    missing: "Mapping[str, Tensor | np.ndarray] | None", modalities: list[str], num_items: int
) -> Tensor | None:
    """(modalities, num_items), True where missing; None without any."""
    if missing is not None:
        check_mapping("missing", missing)
    if not missing:
        return None
    if unknown := missing.keys() - set(modalities):
        raise ValueError(
            f"missing names modalities without features: {sorted(unknown)}. The features' "
            f"modalities are {modalities}."
        )
    masks = torch.zeros(len(modalities), num_items, dtype=torch.bool)
    for m, given in missing.items():
        check_order(f"missing[{m!r}]", given)
        try:
            mask = torch.as_tensor(given)
        except (TypeError, ValueError, RuntimeError):
            raise TypeError(
                f"missing[{m!r}] must be a tensor or an array; got {type(given).__qualname__}."
            ) from None
        if mask.shape != (num_items,) or mask.dtype != torch.bool or mask.all():
            raise ValueError(
                f"missing[{m!r}] must be ({num_items},) bool, True where the item lacks the "
                f"modality, and not for all; got {tuple(mask.shape)} of {mask.dtype}, "
                f"{int((mask != 0).sum())} True."
            )
        masks[modalities.index(m)] = mask
    return masks


def mask_shares(masks: Tensor | None, modalities: Iterable[str]) -> str:
    """What ``missing_masks`` made, in shares, for ``print(model)``."""
    if masks is None or masks.is_meta:
        return ""
    shares = dict(zip(modalities, masks.float().mean(1).tolist(), strict=True))
    return "missing: " + ", ".join(f"{m} {share:.1%}" for m, share in shares.items() if share)


def read_rows(
    source: "Tensor | FeatureTable",
    rows: Tensor,
    like: Tensor | None = None,
    *,
    missing: Tensor | None = None,
) -> Rows:
    """Some items' features, on the device and of the dtype of ``like``, and which are there."""
    if isinstance(source, FeatureTable):
        values, present = source.read(rows, None if like is None else like.dtype)
    else:
        values, present = source[rows], None
    if missing is not None:
        there = ~missing[rows]
        present = there if present is None else present & there
    return Rows(values if like is None else values.to(like), present)


def in_chunks(num_items: int, size: int, device: torch.device) -> tuple[Tensor, ...]:
    """All items' indices, so many at a time."""
    check_integer("chunk_size", size, at_least=1)
    return torch.split(torch.arange(num_items, device=device), int(size))


def new_rows(
    source: "Tensor | FeatureTable",
    name: str,
    given: "FeatureSource",
    width: int,
    *,
    missing: Tensor | None = None,
) -> Tensor:
    """Features of items never seen, checked, rows of NaN filled by the mean of those there are."""
    check_held(name, given)
    x = as_tensor(given) if isinstance(given, np.ndarray) and given.dtype.kind == "f" else given
    if isinstance(x, np.ndarray) or (isinstance(x, Tensor) and not x.is_floating_point()):
        raise ValueError(f"{name} must be of a floating dtype; got {x.dtype}.")
    is_rows = isinstance(x, Tensor) and x.shape[-1:] == (width,)
    gaps = x.isnan().all(dim=-1, keepdim=True) if is_rows else x
    if not is_rows or not (x.isfinite() | gaps).all():
        raise ValueError(
            f"{name} must be a finite tensor of width {width}, or an array; got "
            f"{type(given).__qualname__} of shape {tuple(getattr(x, 'shape', ()))}. (A row of NaN "
            "throughout says that the item lacks this modality.)"
        )
    if not gaps.any():
        return x
    return torch.where(gaps, _fill(source, missing, name).to(x), x)


def _fill(source: "Tensor | FeatureTable", missing: Tensor | None, name: str) -> Tensor:
    """(F,) what new items without a modality have in its place: the mean of rows that are there."""
    there = None if missing is None or not missing.any() else ~missing.cpu()
    if isinstance(source, FeatureTable):
        # Where it has gaps of its own, what training reads in their place.
        if there is None or source.present is not None:
            return source.fill()
        num_items = source.num_rows
    else:
        num_items = len(source)

    def known(rows: Tensor) -> Tensor:
        values, present = read_rows(source, rows, missing=missing)
        return values if present is None else values[present]

    fill = mean_row(known, num_items, there)
    if fill.isnan().any():
        raise ValueError(f"{name} has rows of NaN, and training had no row to fill them by.")
    return fill
