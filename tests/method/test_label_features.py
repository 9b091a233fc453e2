"""Labels as features, by hand, and as a recommender reads them."""

import numpy as np
import pytest
import torch

from sgfd import distill, label_features
from sgfd.backbones import VBPR
from sgfd.data import PairSampler, synthetic_catalog

NAN = np.nan


@pytest.mark.parametrize(
    "labels", [[2, -1, 0], np.array([2.0, NAN, 0.0]), torch.tensor([2, -1, 0]), ["c", "", "a"]]
)
def test_a_column_per_class_and_nan_where_unknown(labels):
    size = 2 if isinstance(labels[0], str) else 3
    found = label_features(labels)
    assert found.dtype == np.float32
    wanted = np.zeros((3, size))
    wanted[0, -1] = wanted[2, 0] = 1
    wanted[1] = NAN
    np.testing.assert_array_equal(found, wanted)


def test_classes_without_an_item_have_columns_where_they_are_declared():
    np.testing.assert_array_equal(
        label_features([1, 0], num_classes=4), [[0, 1, 0, 0], [1, 0, 0, 0]]
    )


def test_several_labels_stay_as_they_are():
    several = np.array([[1, 0, 1], [-1, -1, -1], [0, 0, 0], [0, 1, 0]])
    wanted = np.where(several[:, :1] < 0, NAN, several)
    for labels in (several, several.astype(np.int8), torch.tensor(several)):
        np.testing.assert_array_equal(label_features(labels), wanted)
    assert several.min() == -1  # the caller's are as they were


def test_levels_are_beside_each_other_and_a_level_unknown_is_0():
    labels = {"kind": [0, 1, -1, -1], "leaf": ["y", "x", "z", None]}
    found = label_features(labels, num_classes={"kind": 2, "leaf": 4})
    np.testing.assert_array_equal(
        found,
        [[1, 0, 0, 1, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 0], [NAN] * 6],
    )


def test_a_recommender_reads_them_beside_the_others_distilled_or_not():
    data = synthetic_catalog()
    labels = data.labels.copy()
    labels[:5] = -1
    features = {**data.features, "label": label_features(labels)}
    model = VBPR(data.train, features, seed=0)
    batch = next(PairSampler(data.train, batch_size=64, num_negatives=1, seed=0).epoch(0))
    model(batch).backward()
    assert model.projections["label"].weight.grad.abs().sum(0).count_nonzero() == 10  # each class
    assert distill(VBPR(data.train, features), features, labels).student("label").in_features == 10
