"""Datasets from data frames whose ids are anything."""

import numpy as np
import pytest
from scipy.sparse import csr_array

from sgfd.data import Dataset

pd = pytest.importorskip("pandas")

_FRAME = pd.DataFrame(
    {
        "who": ["cy", "ann", "cy", "bob", "ann", "cy"],
        "what": ["pen", "ink", "cup", "pen", "mat", "pen"],
        "when": ["train", "train", "valid", "train", "test", "train"],
    }
)
_TEXT = pd.DataFrame(np.arange(8.0).reshape(4, 2), index=["ink", "mat", "pen", "cup"])
_IMAGE = pd.DataFrame(np.arange(12.0).reshape(4, 3) - 5, index=["cup", "ink", "mat", "pen"])


def _make(frame: "pd.DataFrame" = _FRAME, **options: object) -> Dataset:
    defaults = {"features": {"text": _TEXT}, "user": "who", "item": "what", "part": "when"}
    return Dataset.from_pandas(frame, **{**defaults, **options})


def _named(data: Dataset, part: csr_array) -> set[tuple[object, object]]:
    assert data.user_ids is not None
    assert data.item_ids is not None
    users, items = part.nonzero()
    return {(data.user_ids[u], data.item_ids[i]) for u, i in zip(users, items, strict=True)}


def test_raw_ids_are_mapped_and_the_mapping_kept() -> None:
    data = _make()
    assert data.user_ids == ("cy", "ann", "bob")
    assert data.item_ids == ("ink", "mat", "pen", "cup")
    assert _named(data, data.train) == {("cy", "pen"), ("ann", "ink"), ("bob", "pen")}
    assert _named(data, data.valid) == {("cy", "cup")}
    assert _named(data, data.test) == {("ann", "mat")}
    assert "train: duplicate pairs merged: 1" in data.notes


def test_every_modality_and_label_finds_its_item_by_id() -> None:
    labels = pd.Series({"pen": "write", "cup": "drink", "sofa": "sit", "mat": None})
    data = _make(features={"text": _TEXT, "image": _IMAGE}, labels=labels)
    np.testing.assert_array_equal(data.features["text"], _TEXT.to_numpy())
    for row, item in enumerate(data.item_ids or ()):
        np.testing.assert_array_equal(data.features["image"][row], _IMAGE.loc[item])
    assert data.labels is not None
    assert data.labels.tolist() == [-1, -1, 1, 0]
    assert data.label_names == ("drink", "write")


def test_integer_labels_with_gaps_stay_integers() -> None:
    data = _make(labels=pd.Series({"pen": 2, "cup": 0}))
    assert data.labels is not None
    assert data.labels.tolist() == [-1, -1, 2, 0]
    with pytest.raises(
        ValueError, match="labels must be whole numbers or strings; got fractions or inf"
    ):
        _make(labels=pd.Series({"pen": 0.5}))


def test_arrays_take_their_ids_from_items() -> None:
    array = np.arange(20.0).reshape(5, 4)
    items = ["cup", "pen", "box", "ink", "mat"]
    data = _make(features={"image": array, "text": _TEXT.reindex(items).fillna(7.0)}, items=items)
    assert data.item_ids == tuple(items)
    np.testing.assert_array_equal(data.features["image"], array)
    labels = ["a", None, "b", "a", "c"]
    assert _make(features={"image": array}, items=items, labels=labels).num_classes == 3


def test_an_item_without_a_row_lacks_the_modality_and_is_counted() -> None:
    for items in (None, ["mat", "pen", "cup", "ink"]):
        data = _make(features={"text": _TEXT, "image": _IMAGE.drop("pen")}, items=items)
        for row, item in enumerate(data.item_ids or ()):
            expected = np.full(3, np.nan) if item == "pen" else _IMAGE.loc[item]
            np.testing.assert_array_equal(data.features["image"][row], expected)
        assert "features: 1 of 4 items lack image" in data.notes
        assert not np.isnan(data.features["text"]).any()


def test_whole_numbers_are_no_features_with_a_gap_either() -> None:
    whole = _IMAGE.drop("pen").astype(int)
    with pytest.raises(ValueError, match=r"features\['image'\] must be floating point; got dtype"):
        _make(features={"text": _TEXT, "image": whole})


_GENRES = pd.DataFrame(
    [[1, 0, 1], [0, 1, 0], [1, 1, 0]], index=["pen", "sofa", "ink"], columns=["art", "fun", "war"]
)


@pytest.mark.parametrize("items", [None, ["ink", "mat", "pen", "cup"]])
@pytest.mark.parametrize("kind", [int, bool, float, "Int8", "boolean"])
def test_a_frame_of_labels_is_multi_hot_and_finds_its_items_by_id(kind, items) -> None:
    data = _make(labels=_GENRES.astype(kind), items=items)
    assert data.labels is not None
    assert data.item_ids == ("ink", "mat", "pen", "cup")
    assert data.labels.tolist() == [[1, 1, 0], [-1, -1, -1], [1, 0, 1], [-1, -1, -1]]
    assert data.label_names == ("art", "fun", "war")
    assert "labels: 2 of 4 items have none" in data.notes


def test_a_gap_in_a_frame_of_labels_is_unknown() -> None:
    gaps = _GENRES.astype(float)
    gaps.loc["pen", "fun"] = np.nan
    data = _make(labels=gaps)
    assert data.labels is not None
    assert data.labels[2].tolist() == [1, -1, 1]


def test_items_choose_among_the_rows_of_frames() -> None:
    frame = _FRAME[_FRAME["what"] != "cup"]
    data = _make(frame, items=["pen", "ink", "mat"])
    np.testing.assert_array_equal(data.features["text"], _TEXT.loc[["pen", "ink", "mat"]])


def test_a_split_is_drawn_per_user_where_no_column_says_it() -> None:
    everything = pd.DataFrame([(u, i) for u in "abc" for i in range(20)], columns=["who", "what"])
    text = pd.DataFrame(np.ones((20, 2)), index=range(20))
    options = {"features": {"text": text}, "part": None, "test_fraction": 0.25}
    data = _make(everything, valid_fraction=0.2, seed=3, **options)
    assert data.test.sum(axis=1).tolist() == [5, 5, 5]
    assert data.valid.sum(axis=1).tolist() == [3, 3, 3]
    assert data.train.sum(axis=1).tolist() == [12, 12, 12]
    assert data.notes[0] == (
        "test: 15 pairs held out from all (0.25 of each user's, rounded half up, seed 3)"
    )
    again = _make(everything, valid_fraction=0.2, seed=3, **options)
    other = _make(everything, valid_fraction=0.2, seed=4, **options)
    assert (data.test != again.test).nnz == (data.valid != again.valid).nnz == 0
    assert (data.test != other.test).nnz > 0


def test_repeats_are_merged_before_the_split_so_that_parts_stay_disjoint() -> None:
    twice = pd.concat([_FRAME, _FRAME])
    data = _make(twice, part=None, test_fraction=0.5)
    assert "frame: duplicate pairs merged: 7" in data.notes
    assert data.train.multiply(data.test).nnz == 0


@pytest.mark.parametrize("kind", [bool, object, "boolean"])
def test_yes_and_no_say_no_part(kind: object) -> None:
    frame = _FRAME.assign(when=pd.Series([True, False, False, True, False, False], dtype=kind))
    with pytest.raises(ValueError, match=r"'test', or 0, 1, 2; got \[True, False"):
        _make(frame)


def test_a_part_may_be_a_category_of_one_value() -> None:
    data = _make(_FRAME.assign(when=pd.Categorical(["train"] * 6)))
    assert (data.test.nnz, data.train.nnz + data.valid.nnz) == (0, 5)


def test_parts_may_be_numbers_and_columns_categories() -> None:
    numbered = _FRAME.assign(when=_FRAME["when"].map({"train": 0, "valid": 1, "test": 2}))
    categorical = _FRAME.astype("category")
    for frame in (numbered, categorical):
        data = _make(frame)
        assert _named(data, data.train) == {("cy", "pen"), ("ann", "ink"), ("bob", "pen")}
        assert _named(data, data.test) == {("ann", "mat")}


@pytest.mark.parametrize(
    ("frame", "options", "message"),
    [
        (_FRAME, {"user": "userID"}, "must have one column 'userID'; it has who, what, when"),
        (
            _FRAME.assign(who=["cy", None, None, "bob", "ann", "cy"]),
            {},
            r"frame\['who'\] must not be missing anywhere; got 2 gaps",
        ),
        (
            _FRAME.assign(what=["pen", "sofa", "rug", "pen", "mat", "pen"]),
            {},
            r"must have features; 2 have none, such as 'sofa', .* items such as 'ink'\. Drop",
        ),
        (
            _FRAME.assign(when="dev"),
            {},
            r"must hold 'train', 'valid', 'test', or 0, 1, 2; got \['dev'\]",
        ),
        (
            _FRAME,
            {"features": {"text": _TEXT, "image": _IMAGE.rename(index=str.upper)}},
            r"must be indexed by item id, such as 'ink'; none of its ids is an item, such as 'CUP'",
        ),
        (
            _FRAME,
            {"features": {"text": _TEXT, "image": pd.concat([_IMAGE, _IMAGE.iloc[:1]])}},
            r"features\['image'\] must have one row per item; 1 rows repeat an item",
        ),
        (
            _FRAME,
            {"features": {"text": pd.concat([_TEXT, _TEXT.iloc[:1]])}},
            "each item must have one row of features; 'ink' has several",
        ),
        (
            _FRAME,
            {
                "features": {
                    "text": _TEXT,
                    "image": _IMAGE.reindex([*_IMAGE.index, "sofa"]).fillna(0.5),
                }
            },
            r"features\['image'\] has 1 items more, such as 'sofa'\. Choose the items with items=",
        ),
        (_FRAME, {"features": {"text": np.ones((4, 2))}}, "items must name the rows of features"),
        (
            _FRAME,
            {"features": {"text": _TEXT, "image": np.ones((4, 2))}},
            r"items must name the rows of features\['image'\], which is an array",
        ),
        (_FRAME, {"labels": ["a", "b", "c", "d"]}, "a Series or a mapping by item id .* got list"),
        (_FRAME, {"labels": pd.Series({3: "a"})}, r"indexed by item id, such as 'ink'; .* as 3\."),
        (
            _FRAME,
            {"labels": pd.Series(["a", "b"], index=["pen", "pen"])},
            "labels must have one entry per item; got 1 that repeat",
        ),
        (_FRAME, {"labels": _GENRES[["art"]]}, "a column per class, two or more; got 1. Give one"),
        (_FRAME, {"labels": _GENRES * 2}, "1 where an item has the class .* got 2"),
        (_FRAME, {"labels": _GENRES.rename(index=str.upper)}, "indexed by item id, such as 'ink'"),
        (_FRAME, {"labels": _GENRES.iloc[[0, 0, 2]]}, "entry per item; got 1 that repeat"),
        (_FRAME, {"labels": pd.Series({"pen": np.inf})}, "got fractions or infinity"),
    ],
)
def test_frames_that_do_not_fit_are_errors(
    frame: "pd.DataFrame", options: dict[str, object], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _make(frame, **options)
