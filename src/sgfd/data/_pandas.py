"""From a data frame with ids of any kind to indices."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sgfd._checks import check_integer, check_mapping, check_number
from sgfd.data._assemble import Source
from sgfd.data._interactions import Interactions, check_pairs, interaction_matrix
from sgfd.data._split import hold_out

if TYPE_CHECKING:
    import pandas as pd

_PARTS: dict[Hashable, str] = {"train": "train", "valid": "valid", "test": "test"}
_PARTS |= {0: "train", 1: "valid", 2: "test"}


class Columns(NamedTuple):
    """The names of a frame's columns."""

    user: str
    item: str
    part: str | None


def index_frame(
    frame: "pd.DataFrame",
    columns: Columns,
    features: Mapping[str, Any],
    labels: Any,
    items: Sequence[Hashable] | None,
    test_fraction: float,
    seed: int,
) -> Source:
    """Maps raw ids to indices and splits; see ``Dataset.from_pandas``."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise TypeError(f"frame must be a pandas data frame; got {type(frame).__qualname__}.")
    check_mapping("features", features)
    check_number("test_fraction", test_fraction, at_least=0, below=1)
    check_integer("seed", seed, at_least=0)
    user, item, part = columns
    for column in (user, item) if part is None else (user, item, part):
        if list(frame.columns).count(column) != 1:
            raise ValueError(
                f"frame must have one column {column!r}; it has "
                f"{', '.join(map(str, frame.columns))}. Name it by user=, item= or part=."
            )
        if frame[column].isna().any():
            count = int(frame[column].isna().sum())
            raise ValueError(f"frame[{column!r}] must not be missing anywhere; got {count:,} gaps.")
    catalog = _catalog(features, items)
    item_codes = catalog.get_indexer(pd.Index(frame[item]))
    if (item_codes < 0).any():
        strange = frame[item][item_codes < 0]
        raise ValueError(
            f"every item of frame[{item!r}] must have features; {strange.nunique():,} have none, "
            f"such as {_first(strange)}, where features know items such as {_first(catalog)}. Drop "
            "their rows, add their features, or name all items by items= (or by the first frame): "
            "one without a row in a frame lacks that modality."
        )
    user_codes, users = pd.factorize(frame[user])
    pairs = np.stack([user_codes, item_codes], axis=1).astype(np.int64)

    notes: list[str] = []
    if part is None:
        everything, notes = interaction_matrix(
            check_pairs(pairs, "frame"), (len(users), len(catalog)), "frame"
        )
        # A stream of its own: the validation part is carved with the plain seed.
        stream = np.random.SeedSequence(seed, spawn_key=(1,))
        train, test = hold_out(everything, fraction=test_fraction, seed=stream)
        notes.append(
            f"test: {test.nnz:,} pairs held out from all ({test_fraction:g} of each user's, "
            f"rounded half up, seed {seed})"
        )
        split: tuple[Interactions, Interactions | None, Interactions] = (train, None, test)
    else:
        # True and False equal 1 and 0, and which parts they stand for nobody said.
        said = frame[part].astype(object)
        truths = said.map(lambda value: isinstance(value, (bool, np.bool_))).astype(bool)
        names = said.map(_PARTS).mask(truths)
        if names.isna().any():
            strange = frame[part][names.isna()].unique().tolist()
            raise ValueError(
                f"frame[{part!r}] must hold 'train', 'valid', 'test', or 0, 1, 2; got {strange}."
            )
        name = names.to_numpy()
        split = (pairs[name == "train"], pairs[name == "valid"], pairs[name == "test"])

    return Source(
        *split,
        features={name: _rows(name, value, catalog, items) for name, value in features.items()},
        labels=_labels_by_item(labels, catalog, items),
        label_names=[str(c) for c in labels.columns] if isinstance(labels, pd.DataFrame) else None,
        user_ids=tuple(users.tolist()),
        item_ids=tuple(catalog.tolist()),
        notes=tuple(notes),
    )


def _catalog(features: Mapping[str, Any], items: Sequence[Hashable] | None) -> "pd.Index[Any]":
    import pandas as pd

    if items is None:
        frames = [value for value in features.values() if isinstance(value, pd.DataFrame)]
        if not frames:
            raise ValueError(
                "items must name the rows of features given as arrays, in their order; got None. "
                "Or give features as data frames whose index holds the item ids."
            )
        catalog = frames[0].index
    elif isinstance(items, str) or not isinstance(items, Iterable):
        raise TypeError(f"items must be a sequence of item ids; got {items!r}.")
    else:
        catalog = pd.Index(list[Any](items))
    if not catalog.is_unique:
        twice = _first(catalog[catalog.duplicated()])
        raise ValueError(f"each item must have one row of features; {twice} has several.")
    return catalog


def _rows(name: str, value: Any, catalog: "pd.Index[Any]", items: Sequence[Hashable] | None) -> Any:
    """One modality's rows in the order of the catalog, NaN where an item has none."""
    import pandas as pd

    if not isinstance(value, pd.DataFrame):
        if items is None:
            raise ValueError(
                f"items must name the rows of features[{name!r}], which is an array; got None."
            )
        return value
    if not value.index.is_unique:
        raise ValueError(
            f"features[{name!r}] must have one row per item; "
            f"{int(value.index.duplicated().sum()):,} rows repeat an item."
        )
    if not value.index.isin(catalog).any():
        raise ValueError(
            f"features[{name!r}] must be indexed by item id, such as {_first(catalog)}; none of "
            f"its ids is an item, such as {_first(value.index)}."
        )
    if items is None and not (known := value.index.isin(catalog)).all():
        raise ValueError(
            f"without items= the first data frame's index is the catalog; features[{name!r}] has "
            f"{int((~known).sum()):,} items more, such as {_first(value.index[~known])}. Choose "
            "the items with items=[...]."
        )
    at = value.index.get_indexer(catalog)
    rows = value.to_numpy()[at]
    if rows.dtype.kind == "f":  # of another dtype it is refused later, gaps or none
        rows[at < 0] = np.nan
    return rows


def _labels_by_item(labels: Any, catalog: "pd.Index[Any]", items: Sequence[Hashable] | None) -> Any:
    """Labels in the order of the catalog, -1 or None where an item has none."""
    import pandas as pd

    if labels is None:
        return None
    if isinstance(labels, Mapping):
        labels = pd.Series(labels)
    elif not isinstance(labels, (pd.Series, pd.DataFrame)):
        if items is None:
            raise ValueError(
                "labels must be a Series or a mapping by item id where items is None; "
                f"got {type(labels).__name__}."
            )
        return labels
    if not labels.index.is_unique:
        raise ValueError(
            "labels must have one entry per item; got "
            f"{int(labels.index.duplicated().sum()):,} that repeat an item."
        )
    if not labels.index.isin(catalog).any():
        raise ValueError(
            f"labels must be indexed by item id, such as {_first(catalog)}; "
            f"none of theirs is an item, such as {_first(labels.index)}."
        )
    if isinstance(labels, pd.DataFrame):
        return _multi_hot(labels, catalog)
    aligned = labels.reindex(catalog)
    if not pd.api.types.is_numeric_dtype(labels.dtype) or pd.api.types.is_bool_dtype(labels.dtype):
        return [None if gap else value for gap, value in zip(aligned.isna(), aligned, strict=True)]
    # Integers with gaps are floats to pandas.
    numbers = aligned.fillna(-1).to_numpy(dtype=np.float64)
    if (numbers != np.floor(numbers)).any() or np.isinf(numbers).any():
        raise ValueError("labels must be whole numbers or strings; got fractions or infinity.")
    return numbers.astype(np.int64)


def _multi_hot(labels: "pd.DataFrame", catalog: "pd.Index[Any]") -> Any:
    """One column per class, rows in the order of the catalog, -1 where it is not known."""
    if labels.shape[1] < 2:
        raise ValueError(
            "labels as a data frame are multi-hot, a column per class, two or more; got "
            f"{labels.shape[1]}. Give one label per item as a Series."
        )
    known = labels.astype(object).where(labels.notna(), -1).to_numpy()
    at = labels.index.get_indexer(catalog)
    rows = known[at]
    rows[at < 0] = -1
    if not np.isin(rows, (0, 1, -1)).all():
        strange = rows[~np.isin(rows, (0, 1, -1))][0]
        raise ValueError(
            "labels as a data frame must be 1 where an item has the class of the column, 0 where "
            f"not, missing or -1 where unknown; got {strange!r}."
        )
    return rows.astype(np.int64)


def _first(values: Any) -> str:
    """The first of some ids, as its plain Python self would print."""
    return repr(values[:1].tolist()[0]) if len(values) else "none"
