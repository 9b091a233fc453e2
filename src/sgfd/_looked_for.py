"""Looking for rows that a layer was given among a catalog's features."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sgfd._functional import widen

# How many rows are compared in their order, and how many are looked for one by one.
_COMPARED, _SOUGHT, CHUNK = 1000, 16, 4096
# Of each value (more than float16 explains), and of the largest one in its row.
_OF_VALUE, _OF_ROW = 1e-3, 1e-5
# Of how far values lie from their column's mean: around 1000, a thousandth may be everything.
_OF_SPREAD = 0.03


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


class Sample(NamedTuple):
    """Rows spread evenly over the catalog, those that are there.

    Attributes:
        rows: (k,) their indices.
        given: (k, F) their features.
        spread: the root mean square of their distances from the columns' means.
    """

    rows: Tensor
    given: Tensor
    spread: float


class Sought(NamedTuple):
    """What came of looking for some rows.

    Attributes:
        rows: how many were looked for.
        found: how many of them are rows of the catalog.
        of_batch: how many of them are rows of the batch's items.
        present: how many of them are rows of items that have the modality.
        difference: the largest one of a value from the nearest row's.
        zeros: whether there were rows of zeros, which stand for padding, beside others.
        gaps: whether items without the modality were met.
        share: of the batch's items, how many have it.
    """

    rows: int
    found: int
    of_batch: int
    present: int
    difference: float
    zeros: bool
    gaps: bool
    share: float

    @property
    def all_found(self) -> bool:
        return self.found == self.rows


def sample_of(catalog: Catalog) -> Sample:
    some = _spread_over(catalog.num_items, _COMPARED, catalog.batch.device)
    given, present = catalog.rows(some)
    given = given.detach()
    if present is not None:
        some, given = some[present], given[present]
    wide = widen(given)
    away = wide - wide.mean(0) if len(wide) else wide
    return Sample(some, given, float(away.square().mean().sqrt()) if len(wide) else 0.0)


def in_order(value: Tensor, sample: Sample, num_items: int) -> tuple[float, int]:
    """The largest difference from the catalog in its order, 0 within the tolerance, and where."""
    starts = {0, len(value) - num_items}  # with users beside them, first or last
    if len(sample.rows) == 0:
        return 0.0, min(starts)
    given = widen(sample.given.to(value.dtype))
    compared = ((widen(value[sample.rows + at]), at) for at in starts)

    def off(x: Tensor) -> float:
        alike = _alike(x, given, sample.spread, value.dtype).all()
        return 0.0 if alike else float((x - given).abs().max())

    return min((off(x), at) for x, at in compared)


def looked_for(value: Tensor, catalog: Catalog, spread: float) -> Sought:
    """Looks for some rows among the batch's items, and among all where that is not enough."""
    there = torch.cat([some.any(-1) for some in torch.split(value, CHUNK)])
    zeros = bool(there.any()) and not bool(there.all())
    value = value[there] if zeros else value
    rows = widen(value[_spread_over(len(value), _SOUGHT, value.device)])
    nearest, gaps, share = torch.full_like(rows[:, 0], torch.inf), False, 1.0
    found, of_batch = nearest < 0, 0
    of_present = found.clone()
    everything = torch.arange(catalog.num_items, device=catalog.batch.device)
    for i, items in enumerate((catalog.batch, *torch.split(everything, CHUNK))):
        given, present = catalog.rows(items)
        given = widen(given.detach().to(value.dtype))
        has = torch.ones_like(items, dtype=torch.bool) if present is None else present
        share = float(has.float().mean()) if i == 0 else share
        gaps = gaps or not bool(has.all())
        distance, at = torch.cdist(rows, given, p=torch.inf).min(1)
        nearest = torch.minimum(nearest, distance)
        alike = _alike(rows, given[at], spread, value.dtype)
        found |= alike
        of_present |= alike & has[at]
        of_batch = int(found.sum()) if i == 0 else of_batch
        if found.all():
            break
    return Sought(
        len(rows),
        int(found.sum()),
        of_batch,
        int(of_present.sum()),
        float(nearest.max()),
        zeros,
        gaps,
        share,
    )


def none_is_read(read: Sequence[Tensor], catalog: Catalog, spread: float) -> int:
    """How many of the batch's items were looked for among rows, if none was found; 0 otherwise."""
    items = catalog.batch[_spread_over(len(catalog.batch), _SOUGHT, catalog.batch.device)]
    given, present = catalog.rows(items)
    given = (given if present is None else given[present]).detach()
    for value in read if len(given) else ():
        wanted = widen(given.to(value.dtype))
        for some in torch.split(value.reshape(-1, value.shape[-1]), CHUNK):
            rows = widen(some)
            if len(rows):
                at = torch.cdist(wanted, rows, p=torch.inf).argmin(1)
                if _alike(rows[at], wanted, spread, value.dtype).any():
                    return 0
    return len(given)


def _alike(x: Tensor, given: Tensor, spread: float, read: torch.dtype) -> Tensor:
    """(n,) which rows are the same: in every value, and beside what tells rows apart.

    ``read`` is the dtype in which the layer was given them.
    """
    of_value = max(_OF_VALUE, torch.finfo(read).eps)  # of bfloat16, .008
    off, of_row = (x - given).abs(), _OF_ROW * given.abs().amax(-1, keepdim=True)
    as_a_whole = off.square().mean(-1).sqrt() <= _OF_SPREAD * spread + of_row.squeeze(-1)
    return (off <= of_value * given.abs() + of_row).all(-1) & as_a_whole


def _spread_over(n: int, count: int, device: torch.device) -> Tensor:
    # In float64, on the CPU: float32 would step beyond the end of a large table.
    picked = torch.linspace(0, n - 1, min(n, count), dtype=torch.float64, device="cpu")
    return picked.round().long().to(device)
