"""Whether what a layer was given is what distill() was given as features."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sgfd._looked_for import CHUNK, Catalog, in_order, looked_for, none_is_read, sample_of
from sgfd._problems import (
    DistillationWarning,
    ForeignRowsWarning,
    OtherFeaturesWarning,
    OtherItemsWarning,
)

# Of a batch's items, how many must have the modality for one of 16 to be sure to (99 %).
_SURE = 0.25


class Problem(NamedTuple):
    """What a layer was given that it should not be, and what to say of it."""

    category: type[DistillationWarning]
    message: str


class Given(NamedTuple):
    """What a layer was given.

    Attributes:
        first: (..., F) at its first call, off any graph.
        trained: whether that had a gradient.
        read: at all calls for one batch; empty where they are not known.
    """

    first: Tensor
    trained: bool
    read: Sequence[Tensor]


def check_input(given: Given, where: str, catalog: Catalog) -> Problem | None:
    """Whether rows that a layer was given are items' features.

    Args:
        given: all items in order, other rows before or after them allowed for; or the batch's
            items, in any order and as often as they come.
        where: the layer, for the message.
        catalog: the features.

    Returns:
        What is wrong; None where nothing is.

    Raises:
        ValueError: for NaN, of which the recommender makes NaN.
    """
    trained = given.trained and not catalog.rows(catalog.batch[:1])[0].requires_grad
    value = given.first.reshape(-1, given.first.shape[-1])
    num_rows, num_items = len(value), catalog.num_items
    if num_rows == 0:
        return None
    _check_not_nan(value, where, trained=trained)
    features = f"features[{catalog.modality!r}]"
    advice = (
        ": the student learns from features that the recommender does not read. Pass those that it "
        "reads, or their dotted path if it trains them."
    )
    sample = sample_of(catalog)
    difference, nearest = 0.0, ""
    if num_rows >= num_items:
        difference, at = in_order(value, sample, num_items)
        if difference == 0:
            beside = torch.cat([value[:at], value[at + num_items :]])
            # A row of zeros stands for padding.
            if beside.any() and not looked_for(beside, catalog, sample.spread).all_found:
                return _foreign(
                    f"{where} was given {num_rows} rows, more than there are items ({num_items})"
                )
    ordered = num_rows >= num_items and difference == 0
    sought = None if ordered else looked_for(value, catalog, sample.spread)
    elsewhere = sought is not None and 2 * sought.of_batch < sought.rows
    # In a whole table zeros are no padding, but rows that were never filled.
    unfilled = sought is not None and sought.zeros and num_rows == num_items and elsewhere
    if sought is None or (sought.all_found and not unfilled):
        if trained:
            return Problem(
                OtherFeaturesWarning,
                f"{where} was given {features} with a gradient, which the ones given to distill() "
                f"have not: the recommender trains them, and they will differ{advice}",
            )
        if not elsewhere:
            return None
        if num_rows == num_items:
            return Problem(
                OtherFeaturesWarning,
                f"{where} was given the rows of {features} in another order. Unless the "
                "recommender puts back in order what it makes of them, the teacher learns other "
                "items' labels: number features and labels as the recommender does its items.",
            )
        if not given.read or (looked_at := none_is_read(given.read, catalog, sample.spread)) == 0:
            return None
        return Problem(
            OtherItemsWarning,
            f"{where} was given {features} of other items than the distillation loss is told of, "
            f"of which it read none of {looked_at} looked at. Either items= names others than the "
            "layer reads, or features and labels are numbered otherwise than the recommender's "
            "items.",
        )
    if num_rows != num_items:
        # What a recommender holds for items that lack the modality is its own affair.
        if sought.gaps and (sought.present > 0 or sought.share < _SURE):
            return None
        if sought.present > 0:
            return _foreign(
                f"{where} was given rows that are no row of {features}: "
                f"{sought.rows - sought.found} of {sought.rows} looked at"
            )
        difference, nearest = sought.difference, " from the nearest one"
    return Problem(
        OtherFeaturesWarning,
        f"{where} was given other rows than {features} (largest difference {difference:.3g}"
        f"{nearest}){advice}",
    )


def _check_not_nan(value: Tensor, where: str, *, trained: bool) -> None:
    bad = sum(int(some.isnan().any(-1).sum()) for some in torch.split(value, CHUNK))
    if bad:
        cause = (
            "it trains them: has training diverged?"
            if trained
            else "NaN says that an item lacks a modality to distill(), not to the recommender. "
            "Fill the rows of the table that it reads, and say which they are by rows of NaN in "
            "features, or by missing=."
        )
        raise ValueError(
            f"{where} was given NaN in {bad} of {len(value)} rows, and makes NaN of it: {cause}"
        )


def _foreign(problem: str) -> Problem:
    return Problem(
        ForeignRowsWarning,
        f"{problem}: it also sees something else (users, say), which is not distilled.",
    )
