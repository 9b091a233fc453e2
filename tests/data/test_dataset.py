"""Datasets from arrays: what is checked, repaired, carved and said."""

from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array, csr_matrix

from sgfd.data import Dataset

_FEATURES = {"image": np.arange(12.0).reshape(4, 3), "text": np.arange(8.0).reshape(4, 2) - 3}
_TRAIN = np.array([(0, 0), (0, 1), (1, 2)])
_TEST = np.array([(1, 3)])


def _make(train: object = _TRAIN, test: object = _TEST, **options: object) -> Dataset:
    return Dataset.from_arrays(train, test, **{"features": _FEATURES, **options})


def test_sizes_come_from_all_parts_and_the_features() -> None:
    data = _make(test=[(5, 3)], valid=[(2, 0)])
    assert (data.num_users, data.num_items) == (6, 4)
    assert data.train.shape == data.valid.shape == data.test.shape == (6, 4)


def test_parts_are_matrices_of_ones_without_duplicates() -> None:
    data = _make(train=[(0, 1), (0, 0), (0, 1), (1, 2), (0, 1)], valid_fraction=0)
    assert data.train.toarray().tolist() == [[1, 1, 0, 0], [0, 0, 1, 0]]
    assert data.train.has_canonical_format
    assert data.train.dtype == np.float32
    assert "train: duplicate pairs merged: 2" in data.notes


def test_seen_is_train_and_validation_together() -> None:
    data = _make(valid=[(1, 0)])
    assert data.seen.toarray().tolist() == [[1, 1, 0, 0], [1, 0, 1, 0]]


@pytest.mark.parametrize("kind", [coo_array, csr_array, csr_matrix])
def test_sparse_parts_equal_arrays_of_pairs(kind: type) -> None:
    shape, users, items = (3, 4), _TRAIN[:, 0], _TRAIN[:, 1]
    sparse = kind((np.array([1.0, 3.0, 1.0]), (users, items)), shape=shape)
    data = _make(train=sparse, valid_fraction=0)
    assert data.num_users == 3
    assert (data.train[:2] != _make(valid_fraction=0).train).nnz == 0
    assert "train: values other than 1 taken as plain interactions: 1" in data.notes


def test_stored_zeros_are_left_out_and_counted() -> None:
    sparse = csr_array((np.array([1.0, 0.0]), (np.array([0, 1]), np.array([0, 1]))), shape=(2, 4))
    data = _make(train=sparse, valid_fraction=0)
    assert data.train.nnz == 1
    assert "train: stored zeros left out: 1" in data.notes


@given(
    pairs=st.sets(st.tuples(st.integers(0, 7), st.integers(0, 11)), min_size=2),
    fraction=st.sampled_from([0.1, 0.25, 0.5]),
    seed=st.integers(0, 99),
)
def test_carving_loses_nothing_and_leaves_each_user_one(
    pairs: set[tuple[int, int]], fraction: float, seed: int
) -> None:
    features = {"text": np.ones((12, 2))}
    given_part = np.array(sorted(pairs))
    data = Dataset.from_arrays(
        given_part, [], features=features, valid_fraction=fraction, seed=seed
    )
    whole = Dataset.from_arrays(given_part, [], features=features, valid_fraction=0)
    assert data.train.multiply(data.valid).nnz == 0
    assert (data.seen != whole.train).nnz == 0
    counts, left = whole.train.sum(axis=1), data.train.sum(axis=1)
    assert (left[counts > 0] >= 1).all()


def test_a_given_validation_part_is_kept_and_nothing_carved() -> None:
    data = _make(train=[(0, item) for item in range(3)] * 5, valid=[(1, 0)], valid_fraction=0.5)
    assert data.train.nnz == 3
    assert data.valid.nnz == 1


def test_integer_labels_keep_unknowns_and_missing_classes() -> None:
    data = _make(labels=np.array([0, -1, 3, 0], dtype=np.int16))
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == [0, -1, 3, 0]
    assert data.label_names == ("0", "1", "2", "3")
    assert "labels: 1 of 4 items have none" in data.notes
    assert "labels: 2 of 4 classes have no item" in data.notes


def test_labels_may_be_tensors_or_strings() -> None:
    tensors = _make(labels=torch.tensor([1, 0, 1, -1]), label_names=["pen", "ink", "cup"])
    assert tensors.labels is not None
    assert (tensors.labels.tolist(), tensors.num_classes) == ([1, 0, 1, -1], 3)
    strings = _make(labels=np.array(["pen", "ink", "pen", "cup"]))
    assert strings.labels is not None
    assert strings.labels.tolist() == [2, 1, 2, 0]
    assert strings.label_names == ("cup", "ink", "pen")


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        ([0, 1, 0], None, r"labels must have one entry per item \(4\); got \(3,\)"),
        ([[0], [1], [0], [1]], None, r"one entry per item \(4\); got \(4, 1\)"),
        ([0.0, 1.0, 0.0, 1.0], None, "or strings, None for unknown; got dtype float64"),
        ([0, -2, 0, 1], None, r"must be -1 \(unknown\) or more; got -2 at item 1"),
        ([0, 812, 0, 1], None, "label 812, which looks like a raw id. Pass the ids as strings"),
        ([0, 2, 0, 1], ["a", "b"], "must name every label up to 2, 3 names; got 2"),
        (["a", "b", "a", "b"], ["a", "b"], "label_names go with integer labels"),
        (None, ["a"], "label_names need labels; got labels=None"),
    ],
)
def test_labels_that_do_not_fit_are_errors(labels: object, names: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _make(labels=labels, label_names=names)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
def test_features_of_any_floating_dtype_become_float32(dtype: str) -> None:
    data = _make(features={"image": np.asfortranarray(_FEATURES["image"].astype(dtype))})
    assert data.features["image"].dtype == np.float32
    assert data.features["image"].flags.c_contiguous
    np.testing.assert_array_equal(data.features["image"], _FEATURES["image"])


def test_features_may_be_tensors_of_any_floating_dtype() -> None:
    source = torch.arange(8.0).reshape(4, 2).bfloat16().requires_grad_()
    data = _make(features={"text": source})
    np.testing.assert_array_equal(data.features["text"], np.arange(8.0).reshape(4, 2))


_NAN = _FEATURES["image"].copy()
_NAN[2, 1] = np.nan
_NAN[3, 0] = -np.inf


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({}, "features must hold at least one modality"),
        ({"image": np.ones(4)}, r"features\['image'\] must be \(num_items, F\).*got shape \(4,\)"),
        ({"image": np.ones((4, 0))}, r"neither of them 0; got shape \(4, 0\)"),
        ({"image": np.ones((4, 2), dtype=int)}, r"must be floating point; got dtype int64"),
        ({"image": torch.ones(4, 2, dtype=torch.uint8)}, "must be floating point; got dtype uint8"),
        ({"image": _NAN}, r"got 2 NaN or infinite values, the first in row 2, column 1\."),
        ({"image": np.full((4, 2), 1e300)}, r"must be finite in float32; got 8 NaN or infinite"),
        (
            {"image": np.ones((4, 2)), "text": np.ones((3, 2))},
            r"must have one row per item; got rows \{'image': 4, 'text': 3\}",
        ),
        (
            {"image": np.ones((3, 2))},
            r"one row per item, at least 4 for the items of test; got 3 rows\. 1 of its pairs",
        ),
    ],
)
def test_features_that_do_not_fit_are_errors(features: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _make(features=features)


def test_a_sparse_part_wider_than_the_features_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least 9 for the items of train; got 4 rows. 0 of its"):
        _make(train=csr_array(np.eye(2, 9)))


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ([], "train must hold at least one pair; got none"),
        ([(0, 1, 2)], r"train must be \(n, 2\), rows of \(user, item\).*got shape \(1, 3\)"),
        ([(0.0, 1.0)], "train must hold integer user and item indices; got dtype float64"),
        ([("ann", "pen")], "must hold integer user and item indices; got dtype <U3"),
        ([(0, 1), (3, -2), (-1, 0)], r"got user 3, item -2 in row 1 \(2 such rows\)"),
        ([(2**40, 1)], "got 1099511627776, which looks like a raw id"),
    ],
)
def test_pairs_that_do_not_fit_are_errors(train: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _make(train=train)


def test_parts_that_overlap_are_an_error_with_a_count_an_example_and_advice() -> None:
    with pytest.raises(
        ValueError, match=r"train and test share 2, such as user 0, item 1\. Keep .* from test\."
    ):
        _make(test=[(0, 1), (1, 2), (1, 3)])
    with pytest.raises(ValueError, match="valid and test share 1, such as user 1, item 3"):
        _make(valid=[(1, 3)])


def test_ids_are_kept_and_set_the_number_of_users() -> None:
    data = _make(user_ids=["ann", "bob", "cy"], item_ids=np.array([7, 8, 9, 5]).tolist())
    assert data.num_users == 3
    assert data.user_ids == ("ann", "bob", "cy")
    assert data.item_ids == (7, 8, 9, 5)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ({"user_ids": ["ann"]}, "user_ids must name all 2 users; got 1"),
        ({"item_ids": ["a", "b", "c"]}, "item_ids must name 4 items; got 3"),
        ({"item_ids": ["a", "b", "a", "a"]}, "item_ids must be unique; got 2 repeats"),
    ],
)
def test_ids_that_do_not_fit_are_errors(ids: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _make(**ids)


def test_a_dataset_is_frozen_and_its_variants_are_checked() -> None:
    data = _make(labels=[0, 1, 1, 0])
    with pytest.raises(FrozenInstanceError):
        data.name = "other"  # type: ignore[misc]
    shuffled = replace(data, features={"image": data.features["image"][::-1]})
    assert shuffled.widths == {"image": 3}
    with pytest.raises(
        ValueError, match=r"features\['image'\] must have one row per item \(4\); got 3"
    ):
        replace(data, features={"image": data.features["image"][:3]})
    with pytest.raises(ValueError, match=r"labels must have one entry per item \(4\); got \(2,\)"):
        replace(data, labels=np.array([0, 1]))
    with pytest.raises(ValueError, match=r"must be of one shape, \(2, 4\); got \(2, 3\)"):
        replace(data, test=csr_array((2, 3)))
