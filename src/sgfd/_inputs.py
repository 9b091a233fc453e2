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
# Of each value (more than half precision explains), and of the largest one in its row.
_OF_VALUE, _OF_ROW = 1e-3, 1e-5
# Of how far values lie from their column's mean: around 1000, a thousandth may be everything.
_OF_SPREAD = 0.03
# Of a batch's items, how many must have the modality for one of 16 to be sure to (99 %).
_SURE = 0.25


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


def check_input(value: Tensor, where: str, catalog: Catalog) -> bool:
    """Warns if rows that a layer was given are not items' features.

    Args:
        value: (..., F) all items in order, other rows before or after them allowed for; or some
            items, in any order and as often as they come. With its ``requires_grad``.
        where: the layer, for the message.
        catalog: the features.

    Returns:
        Whether it warned of other features.
    """
    trained = value.requires_grad and not catalog.rows(catalog.batch[:1])[0].requires_grad
    value = value.detach().reshape(-1, value.shape[-1])
    num_rows, num_items = len(value), catalog.num_items
    if num_rows == 0:
        return False
    features = f"features[{catalog.modality!r}]"
    advice = (
        ": the student learns from features that the recommender does not read. Pass those that it "
        "reads, or their dotted path if it trains them."
    )
    sample = _sample(catalog)
    difference, nearest = 0.0, ""
    if num_rows >= num_items:
        difference, at = _in_order(value, sample, num_items)
        if difference == 0:
            beside = torch.cat([value[:at], value[at + num_items :]])
            if len(beside) and not _looked_for(beside, catalog, sample.spread).all_found:
                _warn_foreign(
                    f"{where} was given {num_rows} rows, more than there are items ({num_items})"
                )
                return False
    ordered = num_rows >= num_items and difference == 0
    sought = None if ordered else _looked_for(value, catalog, sample.spread)
    if sought is None or sought.all_found:
        if trained:
            _warn_other(
                f"{where} was given {features} with a gradient, which the ones given to distill() "
                f"have not: the recommender trains them, and they will differ{advice}"
            )
        return trained
    if num_rows != num_items:
        # What a recommender holds for items that lack the modality is its own affair.
        if sought.gaps and (sought.present > 0 or sought.share < _SURE):
            return False
        if sought.present > 0:
            _warn_foreign(
                f"{where} was given rows that are no row of {features}: "
                f"{sought.rows - sought.found} of {sought.rows} looked at"
            )
            return False
        difference, nearest = sought.difference, " from the nearest one"
    _warn_other(
        f"{where} was given other rows than {features} (largest difference {difference:.3g}"
        f"{nearest}){advice}"
    )
    return True


class _Sample(NamedTuple):
    """Rows spread evenly over the catalog, those that are there.

    Attributes:
        rows: (k,) their indices.
        given: (k, F) their features.
        spread: the root mean square of their distances from the columns' means.
    """

    rows: Tensor
    given: Tensor
    spread: float


class _Sought(NamedTuple):
    """What came of looking for some rows.

    Attributes:
        rows: how many were looked for.
        found: how many of them are rows of the catalog.
        present: how many of them are rows of items that have the modality.
        difference: the largest one of a value from the nearest row's.
        gaps: whether items without the modality were met.
        share: of the batch's items, how many have it.
    """

    rows: int
    found: int
    present: int
    difference: float
    gaps: bool
    share: float

    @property
    def all_found(self) -> bool:
        return self.found == self.rows


def _sample(catalog: Catalog) -> _Sample:
    some = _spread_over(catalog.num_items, _COMPARED, catalog.batch.device)
    given, present = catalog.rows(some)
    given = given.detach()
    if present is not None:
        some, given = some[present], given[present]
    wide = widen(given)
    away = wide - wide.mean(0) if len(wide) else wide
    return _Sample(some, given, float(away.square().mean().sqrt()) if len(wide) else 0.0)


def _in_order(value: Tensor, sample: _Sample, num_items: int) -> tuple[float, int]:
    """The largest difference from the catalog in its order, 0 within the tolerance, and where."""
    starts = {0, len(value) - num_items}  # with users beside them, first or last
    if len(sample.rows) == 0:
        return 0.0, min(starts)
    given = widen(sample.given.to(value.dtype))
    compared = ((widen(value[sample.rows + at]), at) for at in starts)
    return min(
        (0.0 if _alike(x, given, sample.spread).all() else float((x - given).abs().max()), at)
        for x, at in compared
    )


def _looked_for(value: Tensor, catalog: Catalog, spread: float) -> _Sought:
    """Looks for some rows among the batch's items, and among all where that is not enough."""
    rows = widen(value[_spread_over(len(value), _SOUGHT, value.device)])
    nearest, gaps, share = torch.full_like(rows[:, 0], torch.inf), False, 1.0
    found = nearest < 0
    of_present = found.clone()
    everything = torch.arange(catalog.num_items, device=catalog.batch.device)
    for i, items in enumerate((catalog.batch, *torch.split(everything, _CHUNK))):
        given, present = catalog.rows(items)
        given = widen(given.detach().to(value.dtype))
        there = torch.ones_like(items, dtype=torch.bool) if present is None else present
        share = float(there.float().mean()) if i == 0 else share
        gaps = gaps or not bool(there.all())
        distance, at = torch.cdist(rows, given, p=torch.inf).min(1)
        nearest = torch.minimum(nearest, distance)
        alike = _alike(rows, given[at], spread)
        found |= alike
        of_present |= alike & there[at]
        if found.all():
            break
    return _Sought(
        len(rows), int(found.sum()), int(of_present.sum()), float(nearest.max()), gaps, share
    )


def _alike(x: Tensor, given: Tensor, spread: float) -> Tensor:
    """(n,) which rows are the same: in every value, and beside what tells rows apart."""
    off, of_row = (x - given).abs(), _OF_ROW * given.abs().amax(-1, keepdim=True)
    as_a_whole = off.square().mean(-1).sqrt() <= _OF_SPREAD * spread + of_row.squeeze(-1)
    return (off <= _OF_VALUE * given.abs() + of_row).all(-1) & as_a_whole


def _spread_over(n: int, count: int, device: torch.device) -> Tensor:
    # In float64, on the CPU: float32 would step beyond the end of a large table.
    picked = torch.linspace(0, n - 1, min(n, count), dtype=torch.float64, device="cpu")
    return picked.round().long().to(device)


def _warn_other(message: str) -> None:
    warnings.warn(message, OtherFeaturesWarning, stacklevel=7)


def _warn_foreign(problem: str) -> None:
    warnings.warn(
        f"{problem}: it also sees something else (users, say), which is not distilled.",
        ForeignRowsWarning,
        stacklevel=7,
    )
