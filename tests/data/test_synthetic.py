"""The synthetic catalog: what its knobs move, and that they move nothing else."""

import numpy as np
import pytest
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import mutual_info_score
from sklearn.model_selection import cross_val_score

from sgfd.data import Dataset, synthetic_catalog


def _labels(data: Dataset) -> np.ndarray:
    assert data.labels is not None
    return data.labels


def _accuracy(data: Dataset) -> float:
    """How well a ridge classifier reads the labels off the features, beside chance."""
    features = np.concatenate(list(data.features.values()), axis=1)
    scores = cross_val_score(RidgeClassifier(alpha=100.0), features, _labels(data), cv=5)
    return float(scores.mean())


def _taste_for_labels(data: Dataset) -> float:
    """Mutual information of user and label over the training pairs, beyond chance.

    In standard deviations of what the same labels reach when shuffled over the items.
    """
    users, items = data.train.nonzero()
    rng, labels = np.random.default_rng(0), _labels(data)
    shuffled = [mutual_info_score(users, rng.permutation(labels)[items]) for _ in range(40)]
    beyond = mutual_info_score(users, labels[items]) - np.mean(shuffled)
    return float(beyond / np.std(shuffled))


def test_the_default_has_the_sizes_it_says() -> None:
    data = synthetic_catalog()
    assert (data.num_users, data.num_items, data.num_classes) == (1500, 800, 10)
    assert data.widths == {"image": 256, "text": 64}
    total = data.seen.nnz + data.test.nnz
    assert total / data.num_users == pytest.approx(8, abs=0.2)
    assert (data.train.sum(axis=1) >= 1).all()
    assert (data.test.sum(axis=1) >= 1).all()
    assert set(_labels(data).tolist()) == set(range(10))


def test_the_same_seed_gives_the_same_catalog_and_another_seed_another() -> None:
    first, again, other = (synthetic_catalog(num_users=60, num_items=50, seed=s) for s in (3, 3, 4))
    for part in ("train", "valid", "test"):
        assert (getattr(first, part) != getattr(again, part)).nnz == 0
        assert (getattr(first, part) != getattr(other, part)).nnz > 0
    for name in first.features:
        np.testing.assert_array_equal(first.features[name], again.features[name])
        assert not np.array_equal(first.features[name], other.features[name])
    np.testing.assert_array_equal(_labels(first), _labels(again))


def test_label_signal_moves_nothing_but_the_labels() -> None:
    told, half, untold = (synthetic_catalog(label_signal=s) for s in (1.0, 0.5, 0.0))
    for other in (half, untold):
        assert (told.train != other.train).nnz == (told.test != other.test).nnz == 0
        np.testing.assert_array_equal(told.features["image"], other.features["image"])
    agreement = [np.mean(_labels(told) == _labels(data)) for data in (told, half, untold)]
    chance = np.square(np.bincount(_labels(told)) / told.num_items).sum()
    assert agreement[0] == 1
    assert agreement[1] == pytest.approx(0.5 + 0.5 * chance, abs=0.05)
    assert agreement[2] == pytest.approx(chance, abs=0.04)


def test_labels_tell_taste_and_features_tell_labels_only_with_a_label_signal() -> None:
    told, untold = synthetic_catalog(label_signal=1.0), synthetic_catalog(label_signal=0.0)
    assert abs(_taste_for_labels(untold)) < 4
    assert _taste_for_labels(told) > 20

    majority = np.bincount(_labels(untold)).max() / untold.num_items
    assert _accuracy(untold) < majority + 0.03
    assert _accuracy(told) > majority + 0.4


def test_no_single_feature_shows_the_class() -> None:
    data = synthetic_catalog()
    entropy_of = np.bincount(_labels(data)) / data.num_items
    entropy = -(entropy_of * np.log(entropy_of)).sum()
    shown = mutual_info_classif(data.features["image"][:, :40], _labels(data), random_state=0)
    assert shown.max() < entropy / 4


def test_classes_do_not_matter_to_taste_without_class_strength() -> None:
    assert abs(_taste_for_labels(synthetic_catalog(class_strength=0.0))) < 4


def test_unlabeled_items_are_as_many_as_asked_for() -> None:
    data = synthetic_catalog(unlabeled=0.3, num_items=2000, num_users=50)
    assert np.mean(_labels(data) == -1) == pytest.approx(0.3, abs=0.04)
    assert data.num_classes == 10


def test_any_number_of_modalities_of_any_width() -> None:
    data = synthetic_catalog(num_users=20, num_items=40, widths={"audio": 7})
    assert data.widths == {"audio": 7}
    assert data.features["audio"].dtype == np.float32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_classes": 0}, "num_classes must be an integer of at least 1; got 0"),
        ({"num_items": 9}, "num_items must be an integer of at least 10; got 9"),
        (
            {"interactions_per_user": 2},
            "per_user must be an integer of at least 3 and below 401",
        ),
        ({"label_signal": 1.2}, "label_signal must be at most 1; got 1.2"),
        ({"unlabeled": 1.0}, "unlabeled must be at least 0 and below 1; got 1.0"),
        ({"widths": {}}, "features must hold at least one modality"),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthetic_catalog(**options)
