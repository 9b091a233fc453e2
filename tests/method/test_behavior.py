from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import coo_array, csr_array
from sklearn.metrics import adjusted_rand_score

from sgfd import behavior_features, distill, pseudo_labels
from sgfd.backbones import VBPR
from sgfd.data import Dataset


def groups_of_users(seed=0):
    """Three groups of users, each with items of its own and a few of the others'."""
    rng = np.random.default_rng(seed)
    user_kinds, item_kinds = np.arange(240) % 3, rng.permutation(np.arange(90) % 3)
    likes = np.where(user_kinds[:, None] == item_kinds, 0.3, 0.02)
    popularity = rng.uniform(0.3, 1.0, size=90)
    return csr_array(rng.random((240, 90)) < likes * popularity, dtype=np.float32), item_kinds


def test_labels_from_behavior_are_the_groups_of_users():
    interactions, kinds = groups_of_users()
    made = pseudo_labels(behavior_features(interactions, 3), 3)
    assert adjusted_rand_score(kinds, made.labels) == 1.0
    assert made.stability > 0.95


def test_behavior_features_are_the_singular_vectors_of_the_damped_matrix():
    dense = groups_of_users()[0].toarray().astype(np.float64)
    dense[5, 7] = 3.0  # a weight
    users, items = dense.sum(axis=1), dense.sum(axis=0)
    scaled = dense / np.sqrt(np.outer(users + users[users > 0].mean(), items + items.mean()))
    _, strength, directions = np.linalg.svd(scaled)
    rows = (directions[:8] * strength[:8, None]).T
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    features = behavior_features(coo_array(dense), 8, seed=5)
    assert features.dtype == np.float32
    # Inner products, since the sign of a singular vector is nobody's.
    np.testing.assert_allclose(features @ features.T, rows @ rows.T, atol=1e-5)
    np.testing.assert_allclose(np.abs(features[:, 0]), np.abs(rows[:, 0]), atol=1e-5)


def test_the_same_seed_gives_the_same_behavior_features():
    interactions, _ = groups_of_users()
    first, again = (behavior_features(interactions, 5, seed=2) for _ in range(2))
    assert np.array_equal(first, again)
    other = behavior_features(interactions, 5, seed=3)
    np.testing.assert_allclose(first @ first.T, other @ other.T, atol=1e-5)


def test_items_and_users_without_interactions_change_nothing_and_get_no_label():
    interactions, _ = groups_of_users()
    padded = np.zeros((300, 95), dtype=np.float32)
    padded[np.ix_(np.arange(240) + 60, np.delete(np.arange(95), [0, 50, 51, 52, 94]))] = (
        interactions.toarray()
    )
    features = behavior_features(csr_array(padded), 6)
    assert np.isnan(features[[0, 50, 51, 52, 94]]).all()
    kept = np.delete(features, [0, 50, 51, 52, 94], axis=0)
    np.testing.assert_array_equal(kept, behavior_features(interactions, 6))
    labels = pseudo_labels(features, 3).labels
    assert np.flatnonzero(labels == -1).tolist() == [0, 50, 51, 52, 94]


def test_items_that_share_no_user_with_the_rest_have_no_direction():
    interactions, kinds = groups_of_users()
    island = np.zeros((242, 93), dtype=np.float32)
    island[:240, :90] = interactions.toarray()
    island[240, 90:92] = island[241, 92] = 1
    features = behavior_features(csr_array(island), 3)
    assert np.isnan(features[90:]).all()
    assert np.linalg.norm(features[:90], axis=1) == pytest.approx(np.ones(90), abs=1e-6)
    labels = pseudo_labels(features, 3).labels
    assert adjusted_rand_score(kinds, labels[:90]) == 1.0


def test_content_labels_the_items_that_behavior_cannot():
    interactions, kinds = groups_of_users()
    content = 12 * np.eye(3, 8)[kinds] + np.random.default_rng(1).normal(size=(90, 8))
    cold = interactions.toarray()
    cold[:, :10] = 0
    behavior = behavior_features(csr_array(cold), 3)
    labels = pseudo_labels({"behavior": behavior, "image": content}, 3).labels
    assert adjusted_rand_score(kinds, labels) == 1.0


@pytest.mark.parametrize(
    ("interactions", "dim", "text"),
    [
        (csr_array(np.eye(6)), 6, r"less than the users and .* \(6 and 6\); got 6\."),
        (csr_array(np.eye(6)), 0, r"dim must be an integer of at least 1; got 0\."),
        (csr_array(-np.eye(6)), 2, "interactions must be finite and not negative"),
        (csr_array(np.diag([1.0, np.inf, 1.0])), 2, "interactions must be finite and not negative"),
        (csr_array((4, 6)), 2, r"interactions must hold some; got none in \(4, 6\)\."),
    ],
)
def test_bad_interactions_are_an_error_that_says_so(interactions, dim, text):
    with pytest.raises(ValueError, match=text):
        behavior_features(interactions, dim)


def test_interactions_must_be_sparse():
    with pytest.raises(TypeError, match="interactions must be a SciPy sparse.*got ndarray"):
        behavior_features(np.eye(4), 2)


@pytest.mark.data
def test_behavior_labels_the_connected_items_of_tiktok_and_they_teach(data_dir: Path):
    data = Dataset.load(data_dir / "tiktok")
    made = pseudo_labels(behavior_features(data.train, 32), 30, repeats=2)
    # 465 items have no training pair, and 127 more share no user with the other 6,118.
    assert (made.labels == -1).sum() == 465 + 127
    assert made.sizes[0] < 1500
    model = distill(VBPR(data.train, data.features, dim=8), data.features, made.labels)
    assert model.teacher.num_classes == 30
    assert model.distillation_loss(torch.arange(512)).isfinite()
