"""The yardsticks, against scikit-learn and brute force."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array, csr_matrix
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.neighbors import NearestNeighbors

from sgfd.data import Dataset
from sgfd.evaluation import _baselines, evaluate, item_knn, popularity

NUM_USERS, NUM_ITEMS = 40, 25


def random_train(seed: int) -> csr_array:
    """Some users and items have no pair; item 3 has every user that item 5 has."""
    rng = np.random.default_rng(seed)
    dense = rng.random((NUM_USERS, NUM_ITEMS)) < rng.beta(1, 4, size=NUM_ITEMS)
    dense[:, 3] = dense[:, 5]
    dense[:, 7] = dense[11] = False
    return csr_array(dense, dtype=np.float32)


def knn_by_hand(train: csr_array, k: int, shrink: float) -> np.ndarray:
    dense = train.toarray().astype(float)
    scores = np.zeros(dense.shape)
    for item in range(dense.shape[1]):
        shared = dense[:, item] @ dense
        similarity = shared / (np.sqrt(dense[:, item].sum() * dense.sum(axis=0)) + shrink + 1e-300)
        others = [j for j in range(dense.shape[1]) if j != item and shared[j] > 0]
        nearest = sorted(others, key=lambda j: (-similarity[j], j))[:k]
        scores[:, item] = dense[:, nearest] @ similarity[nearest]
    return scores


def everyone(train: csr_array) -> torch.Tensor:
    return torch.arange(train.shape[0])


@given(
    seed=st.integers(0, 2**32 - 1),
    k=st.integers(1, NUM_ITEMS + 3),
    shrink=st.sampled_from([0.0, 0.5, 7.0, 300.0]),
)
def test_item_knn_sums_the_similarities_of_the_nearest_items_that_the_user_has(seed, k, shrink):
    train = random_train(seed)

    scores = item_knn(train, num_neighbors=k, shrink=shrink)(everyone(train)).numpy()

    np.testing.assert_allclose(scores, knn_by_hand(train, k, shrink), rtol=1e-12, atol=1e-10)


def test_without_shrinkage_and_with_all_neighbors_the_similarity_is_scikit_learns_cosine():
    train = random_train(seed=2)
    cosine = cosine_similarity(train.T.astype(np.float64))
    np.fill_diagonal(cosine, 0)

    scores = item_knn(train, num_neighbors=NUM_ITEMS, shrink=0)(everyone(train)).numpy()

    np.testing.assert_allclose(scores, train @ cosine, atol=1e-10)


def test_the_neighbors_are_those_of_scikit_learn():
    # Real-valued cosines of many users leave no ties for the two to settle differently.
    train = csr_array(np.random.default_rng(4).random((3000, 12)) < 0.3, dtype=np.float64)
    search = NearestNeighbors(n_neighbors=5, metric="cosine", algorithm="brute").fit(train.T)
    _, nearest = search.kneighbors()

    # A user with one item j scores exactly the items that have j among their neighbors.
    singles = csr_array(np.eye(12))
    both = csr_array(np.vstack([train.toarray(), singles.toarray()]))
    scores = item_knn(both, num_neighbors=5, shrink=0)(torch.arange(3000, 3012)).numpy()

    expected = np.zeros((12, 12), dtype=bool)
    expected[nearest.T, np.arange(12)] = True
    assert np.array_equal(scores > 1e-9, expected)


@pytest.mark.parametrize("cells", [1, 60, 301])
def test_the_size_of_a_block_changes_nothing(cells, monkeypatch):
    train = random_train(seed=5)
    whole = item_knn(train, num_neighbors=4, shrink=3)(everyone(train))

    monkeypatch.setattr(_baselines, "_CELLS", cells)

    assert torch.equal(item_knn(train, num_neighbors=4, shrink=3)(everyone(train)), whole)


def test_no_more_than_the_bound_is_held_at_once(monkeypatch):
    train = random_train(seed=6)
    monkeypatch.setattr(_baselines, "_CELLS", 100)

    blocks = list(_baselines._nearest(_baselines.ones_of(train), NUM_ITEMS, 0.0))

    assert len(blocks) > 3
    assert sorted(i for items, _, _ in blocks for i in set(items)) == [
        i for i in range(NUM_ITEMS) if (train.T @ train).toarray()[i].astype(bool).sum() > 1
    ]
    assert max(len(items) for items, _, _ in blocks) <= 100 + NUM_ITEMS


def test_equal_similarities_go_to_the_lower_index():
    # Items 1, 2 and 3 share one user each with item 0, and all have one user.
    train = csr_array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 0, 0, 0]])
    owners = torch.tensor([0, 1, 2])

    scores = item_knn(train, num_neighbors=2, shrink=1)(owners)[:, 0]

    similarity = 1 / (np.sqrt(3) + 1)
    assert scores.tolist() == pytest.approx([similarity, similarity, 0])


@pytest.mark.parametrize("make", [popularity, item_knn])
def test_equal_scores_are_ranked_by_index(make):
    train = csr_array(np.tile([0, 1, 0, 0, 1, 0], (3, 1)))

    scores = make(train)(torch.tensor([0]))[0]

    assert scores.dtype == torch.float64
    assert scores.argsort(descending=True).tolist() == [1, 4, 0, 2, 3, 5]


@given(seed=st.integers(0, 2**32 - 1))
def test_popularity_ranks_by_number_of_users(seed):
    train = random_train(seed)
    counts = (train.toarray() != 0).sum(axis=0)

    scores = popularity(train)(torch.tensor([4, 0]))

    assert scores.shape == (2, NUM_ITEMS)
    assert torch.equal(scores[0], scores[1])
    best = scores[0].argsort(descending=True).tolist()
    assert best == sorted(range(NUM_ITEMS), key=lambda item: (-counts[item], item))
    assert scores[0].ceil().long().tolist() == counts.tolist()


@pytest.mark.parametrize("make", [popularity, item_knn])
def test_what_is_stored_counts_once_whatever_its_value_and_format(make):
    train = random_train(seed=9)
    row, column = train.nonzero()
    stars = np.random.default_rng(9).integers(1, 6, size=len(row))
    users = everyone(train)
    expected = make(train)(users)
    zero = np.argwhere(train.toarray() == 0)[0]
    stored = coo_array(
        (np.r_[stars, stars, 0], (np.r_[row, row, zero[0]], np.r_[column, column, zero[1]])),
        shape=train.shape,
    )

    assert torch.equal(make(stored)(users), expected)
    assert torch.equal(make(csr_matrix(train.astype(bool)))(users), expected)
    assert stored.nnz == 2 * len(row) + 1


@pytest.mark.parametrize("make", [popularity, item_knn])
def test_a_dense_matrix_is_refused(make):
    with pytest.raises(TypeError, match=r"train must be a SciPy sparse .* got ndarray"):
        make(np.ones((2, 3)))


@pytest.mark.parametrize("options", [{"num_neighbors": 0}, {"shrink": -1}, {"shrink": np.inf}])
def test_options_out_of_range_are_refused(options):
    name, value = next(iter(options.items()))
    with pytest.raises(ValueError, match=rf"{name} must be .*at least .*; got {value}"):
        item_knn(random_train(seed=0), **options)


@pytest.mark.data
def test_the_yardsticks_of_office(data_dir):
    data = Dataset.load(data_dir / "office", modalities=["Title"])

    runs = [evaluate(make(data.seen), data.test, seen=data.seen) for make in (popularity, item_knn)]

    # Computed once by a dense brute force without the library.
    means = [run.means() for run in runs]
    assert [m["ndcg@20"] for m in means] == pytest.approx([0.03497924, 0.08247127], abs=1e-8)
    assert [m["recall@20"] for m in means] == pytest.approx([0.05983351, 0.12469774], abs=1e-8)
