"""From what a source gives to the checked fields of a dataset."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from sgfd._checks import check_integer, check_number
from sgfd.data._checks import Labels, check_features, check_ids, check_labels
from sgfd.data._interactions import (
    Interactions,
    Pairs,
    check_disjoint,
    check_pairs,
    interaction_matrix,
)
from sgfd.data._split import hold_out
from sgfd.data._summary import count_notes


class Source(NamedTuple):
    """A dataset as it comes, unchecked; see ``Dataset.from_arrays``."""

    train: Interactions
    valid: Interactions | None
    test: Interactions
    features: Mapping[str, Any]
    labels: Labels | None = None
    label_names: Sequence[str] | None = None
    user_ids: Sequence[Hashable] | None = None
    item_ids: Sequence[Hashable] | None = None
    notes: Sequence[str] = ()


class Fields(NamedTuple):
    """The fields of ``Dataset``, in its order."""

    train: csr_array
    valid: csr_array
    test: csr_array
    features: dict[str, npt.NDArray[np.float32]]
    labels: npt.NDArray[np.int64] | None
    label_names: tuple[str, ...]
    user_ids: tuple[Hashable, ...] | None
    item_ids: tuple[Hashable, ...] | None
    name: str
    notes: tuple[str, ...]


def assemble(source: Source, *, valid_fraction: float, seed: int, name: str) -> Fields:
    """Checks a source, repairs what is documented to be repaired, and carves if need be."""
    check_number("valid_fraction", valid_fraction, at_least=0, below=1)
    check_integer("seed", seed, at_least=0)
    features = check_features(source.features)
    num_items = next(iter(features.values())).shape[0]
    valid = () if source.valid is None else source.valid
    given = {"train": source.train, "valid": valid, "test": source.test}
    pairs = {part: check_pairs(value, part) for part, value in given.items()}
    num_users = max(part.num_users for part in pairs.values())
    num_users = check_ids(source.user_ids, source.item_ids, num_users, num_items)
    parts, notes = _parts(pairs, (num_users, num_items), valid_fraction, seed)
    labels, label_names = check_labels(source.labels, source.label_names, num_items)
    return Fields(
        **parts,
        features=features,
        labels=labels,
        label_names=label_names,
        user_ids=None if source.user_ids is None else tuple(source.user_ids),
        item_ids=None if source.item_ids is None else tuple(source.item_ids),
        name=name,
        notes=(
            *source.notes,
            *notes,
            *count_notes(**parts, features=features, labels=labels, num_classes=len(label_names)),
        ),
    )


def _parts(
    pairs: dict[str, Pairs], shape: tuple[int, int], valid_fraction: float, seed: int
) -> tuple[dict[str, csr_array], list[str]]:
    """Makes the matrices of train, valid and test, carving valid from train if it is empty."""
    notes: list[str] = []
    parts: dict[str, csr_array] = {}
    for name, values in pairs.items():
        parts[name], repairs = interaction_matrix(values, shape, name)
        notes += repairs
    if parts["train"].nnz == 0:
        raise ValueError("train must hold at least one pair; got none.")
    check_disjoint(parts)
    if parts["valid"].nnz == 0 and valid_fraction != 0:
        kept, held = hold_out(parts["train"], fraction=valid_fraction, seed=seed)
        parts["train"], parts["valid"] = kept, held
        notes.append(
            f"valid: {held.nnz:,} pairs carved from train ({valid_fraction:g} of each user's, "
            f"rounded half up, seed {seed})"
        )
    return parts, notes
