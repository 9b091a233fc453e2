"""Whether what a layer was given is what distill() was given as features."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from sgfd._functional import widen
from sgfd._problems import ForeignRowsWarning, OtherFeaturesWarning

# How many rows are compared in their order, and how many are looked for one by one.
_COMPARED, _SOUGHT, _CHUNK = 1000, 16, 4096
_TOLERANCE = 1e-3  # of the largest value: more than half precision explains


class Catalog(NamedTuple):
    """A modality of all items, as given to ``distill``.

    Attributes:
        modality: its name.
        rows: (k,) item indices -> their raw features, and which of them are there (None: all).
        num_items: how many items there are.
        batch: (n,) the batch's items, at least one, where rows are looked for first.
    """

    modality: str
    rows: Callable[[Tensor], tuple[Tensor, Tensor | None]]
    num_items: int
    batch: Tensor


def check_input(value: Tensor, where: str, catalog: Catalog) -> None:
    """Warns if rows that a layer was given are not items' features.

    Args:
        value: (..., F) all items in order, other rows before or after them allowed for; or some
            items, in any order and as often as they come.
        where: the layer, for the message.
        catalog: the features.
    """
    value = value.reshape(-1, value.shape[-1])
    num_rows, num_items = len(value), catalog.num_items
    if num_rows == 0:
        return
    features = f"features[{catalog.modality!r}]"
    difference, nearest = 0.0, ""
    if num_rows >= num_items:
        difference, at = _in_order(value, catalog)
        if difference == 0:
            beside = torch.cat([value[:at], value[at + num_items :]])
            if len(beside) and not _looked_for(beside, catalog).all_found:
                _warn_foreign(
                    f"{where} was given {num_rows} rows, more than there are items ({num_items})"
                )
            return
    sought = _looked_for(value, catalog)
    if sought.all_found:
        return
    if num_rows != num_items:
        if sought.gaps:
            return  # what a recommender holds for items that lack the modality is its own affair
        if sought.found > 0:
            _warn_foreign(
                f"{where} was given rows that are no row of {features}: "
                f"{sought.rows - sought.found} of {sought.rows} looked at"
            )
            return
        difference, nearest = sought.difference, " from the nearest one"
    warnings.warn(
        f"{where} was given other rows than {features} (largest difference {difference:.3g}"
        f"{nearest}): the student learns from features that the recommender does not read. Pass "
        "those that it reads, or their dotted path if it trains them.",
        OtherFeaturesWarning,
        stacklevel=6,
    )


class _Sought(NamedTuple):
    rows: int
    found: int
    difference: float
    gaps: bool

    @property
    def all_found(self) -> bool:
        return self.found == self.rows


def _in_order(value: Tensor, catalog: Catalog) -> tuple[float, int]:
    """The largest difference from the catalog in its order, 0 within the tolerance, and where."""
    some = torch.arange(min(catalog.num_items, _COMPARED), device=catalog.batch.device)
    given, present = catalog.rows(some)
    given = given.detach().to(value.dtype)
    if present is not None:
        some, given = some[present], given[present]
    starts = {0, len(value) - catalog.num_items}  # with users beside them, first or last
    if len(some) == 0:
        return 0.0, min(starts)
    difference, at = min((float((value[some + at] - given).abs().max()), at) for at in starts)
    return (0.0 if difference <= _TOLERANCE * float(given.abs().max()) else difference), at


def _looked_for(value: Tensor, catalog: Catalog) -> _Sought:
    """Looks for some rows among the batch's items, and among all where that is not enough."""
    picked = torch.linspace(0, len(value) - 1, min(len(value), _SOUGHT), device=value.device)
    rows = widen(value[picked.long()])
    nearest, scale, gaps = torch.full_like(rows[:, 0], torch.inf), 0.0, False
    found = nearest <= 0
    everything = torch.arange(catalog.num_items, device=catalog.batch.device)
    for items in (catalog.batch, *torch.split(everything, _CHUNK)):
        given, present = catalog.rows(items)
        given = widen(given.detach().to(value.dtype))
        gaps = gaps or (present is not None and not present.all())
        scale = max(scale, float(given.abs().max()))
        nearest = torch.minimum(nearest, torch.cdist(rows, given, p=torch.inf).amin(1))
        found = nearest <= _TOLERANCE * scale
        if found.all():
            break
    return _Sought(len(rows), int(found.sum()), float(nearest.max()), gaps)


def _warn_foreign(problem: str) -> None:
    warnings.warn(
        f"{problem}: it also sees something else (users, say), which is not distilled.",
        ForeignRowsWarning,
        stacklevel=7,
    )
