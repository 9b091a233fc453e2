"""Holding out items altogether: the catalog of tomorrow."""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from sgfd._checks import check_integer, check_number
from sgfd.data._dataset import Dataset
from sgfd.data._summary import count_notes


class ColdSplit(NamedTuple):
    """A dataset without some of its items, and those items.

    Attributes:
        warm: the dataset of the other items, renumbered; users stay.
        features: ``{modality: (num_cold, F)}`` of the items held out.
        target: (num_users, num_cold) all their interactions, of users that keep one in train.
        warm_items: (num_warm,) what ``warm``'s items were numbered before.
        cold_items: (num_cold,) likewise of the items held out.
    """

    warm: Dataset
    features: dict[str, npt.NDArray[np.float32]]
    target: csr_array
    warm_items: npt.NDArray[np.int64]
    cold_items: npt.NDArray[np.int64]


def hold_out_items(data: Dataset, *, fraction: float = 0.2, seed: int) -> ColdSplit:
    """Takes a share of the items out of a dataset, with every interaction they have.

    A model trained on what is left has never met them, not even as negatives: they are to it what
    tomorrow's items are.

    Args:
        data: interactions of all three parts of the items held out become the target.
        fraction: the share of the items that have an interaction, drawn uniformly and rounded,
            0 < fraction < 1.
        seed: of the draw.

    Raises:
        TypeError: for what is no ``Dataset``.
        ValueError: if ``fraction`` is out of range or leaves no item on a side.

    Example:
        >>> from sgfd.data import hold_out_items, synthetic_catalog
        >>> data = synthetic_catalog()
        >>> split = hold_out_items(data, seed=0)
        >>> split.warm.num_items + len(split.cold_items) == data.num_items
        True
        >>> split.target.shape == (data.num_users, len(split.cold_items))
        True
    """
    if not isinstance(data, Dataset):
        raise TypeError(f"data must be a Dataset; got {type(data).__qualname__}.")
    check_number("fraction", fraction, above=0, below=1)
    check_integer("seed", seed, at_least=0)
    pairs = csr_array(data.seen + data.test)
    there = np.flatnonzero(np.bincount(pairs.indices, minlength=data.num_items))
    count = round(fraction * len(there))
    if not 0 < count < len(there):
        raise ValueError(
            f"fraction must leave items on both sides; got {fraction} of {len(there)} items with "
            "interactions."
        )
    cold = np.sort(np.random.default_rng(seed).choice(there, count, replace=False))
    warm = np.setdiff1d(np.arange(data.num_items), cold)
    train = csr_array(data.train[:, warm])
    known = np.diff(train.indptr) > 0
    target = csr_array(pairs[:, cold].multiply(known[:, None]))
    target.eliminate_zeros()
    rest = replace(
        data,
        train=train,
        valid=csr_array(data.valid[:, warm]),
        test=csr_array(data.test[:, warm]),
        features={m: x[warm] for m, x in data.features.items()},
        labels=None if data.labels is None else data.labels[warm],
        item_ids=None if data.item_ids is None else tuple(data.item_ids[i] for i in warm),
    )
    note = f"cold: {count:,} of {len(there):,} items held out altogether (seed {seed})"
    counts = _counts(data)
    still = [said for said in data.notes if said not in counts]
    return ColdSplit(
        replace(rest, notes=(*still, note, *_counts(rest))),
        {m: x[cold] for m, x in data.features.items()},
        target,
        warm,
        cold,
    )


def _counts(data: Dataset) -> list[str]:
    return count_notes(
        data.train, data.valid, data.test, data.features, data.labels, data.num_classes
    )
