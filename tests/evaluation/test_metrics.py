"""Ranking metrics against torch_geometric, scikit-learn and plain Python."""

import math
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from sgfd.evaluation import ranking_metrics

NAMES = ("recall", "ndcg", "precision", "map", "hit_rate", "mrr")


class Rankings(NamedTuple):
    order: np.ndarray  # (U, num_items): item ids, best first
    relevant: np.ndarray  # (U, num_items) bool, by item id

    def hits(self, k: int) -> np.ndarray:
        return np.take_along_axis(self.relevant, self.order[:, :k], axis=1)


def random_rankings(seed: int, num_users: int, num_items: int) -> Rankings:
    rng = np.random.default_rng(seed)
    order = np.stack([rng.permutation(num_items) for _ in range(num_users)])
    relevant = rng.random((num_users, num_items)) < rng.random((num_users, 1))
    relevant[np.arange(num_users), rng.integers(num_items, size=num_users)] = True
    return Rankings(order, relevant)


def by_hand(ranked: Sequence[int], relevant: set[int], k: int) -> dict[str, float]:
    """The textbook definitions, one item at a time."""
    found, dcg, precisions, first = 0, 0.0, 0.0, 0.0
    for rank, item in enumerate(ranked[:k], start=1):
        if item in relevant:
            found += 1
            dcg += 1 / math.log2(rank + 1)
            precisions += found / rank
            first = first or 1 / rank
    ideal = sum(1 / math.log2(rank + 1) for rank in range(1, min(k, len(relevant)) + 1))
    return {
        "recall": found / len(relevant),
        "ndcg": dcg / ideal,
        "precision": found / k,
        "map": precisions / min(k, len(relevant)),
        "hit_rate": float(found > 0),
        "mrr": first,
    }


@given(
    seed=st.integers(0, 2**32 - 1),
    num_users=st.integers(1, 6),
    num_items=st.integers(1, 15),
    data=st.data(),
)
def test_every_value_of_every_user_equals_the_textbook_definition(seed, num_users, num_items, data):
    rankings = random_rankings(seed, num_users, num_items)
    ks = data.draw(st.lists(st.integers(1, num_items), min_size=1, max_size=4, unique=True))

    values = ranking_metrics(rankings.hits(max(ks)), rankings.relevant.sum(axis=1), ks)

    assert list(values) == [f"{name}@{k}" for name in NAMES for k in ks]
    for user in range(num_users):
        relevant = set(np.flatnonzero(rankings.relevant[user]).tolist())
        for k in ks:
            for name, expected in by_hand(rankings.order[user].tolist(), relevant, k).items():
                assert values[f"{name}@{k}"][user] == pytest.approx(expected, rel=1e-13)
    for value in values.values():
        assert value.dtype == np.float64
        assert value.shape == (num_users,)


@pytest.fixture
def pyg_metrics() -> Iterator[ModuleType]:
    """torch_geometric's metrics in float64: float32 would hide small differences."""
    from torch_geometric import metrics

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield metrics
    torch.set_default_dtype(before)


# torch_geometric imports torch-sparse where it is installed, which torch warns about.
@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
@pytest.mark.parametrize("k", [1, 4, 10, 25])
def test_the_means_over_users_are_those_of_torch_geometric(pyg_metrics, k):
    rankings = random_rankings(seed=7, num_users=60, num_items=25)
    order, relevant = torch.from_numpy(rankings.order), torch.from_numpy(rankings.relevant)

    values = ranking_metrics(rankings.hits(k), rankings.relevant.sum(axis=1), [k])

    theirs = {
        "recall": pyg_metrics.LinkPredRecall(k),
        "ndcg": pyg_metrics.LinkPredNDCG(k),
        "precision": pyg_metrics.LinkPredPrecision(k),
        "map": pyg_metrics.LinkPredMAP(k),
        "hit_rate": pyg_metrics.LinkPredHitRatio(k),
        "mrr": pyg_metrics.LinkPredMRR(k),
    }
    assert set(theirs) == set(NAMES)
    for name, metric in theirs.items():
        metric.update(order[:, :k], relevant.nonzero().T)
        assert values[f"{name}@{k}"].mean() == pytest.approx(float(metric.compute()), rel=1e-12)


@pytest.mark.parametrize("k", [1, 5, 30])
def test_values_agree_with_scikit_learn_where_it_has_the_metric(k):
    num_items = 30
    rankings = random_rankings(seed=3, num_users=40, num_items=num_items)
    scores = np.empty((40, num_items))
    np.put_along_axis(scores, rankings.order, np.arange(num_items, 0, -1.0)[None], axis=1)
    listed = scores > num_items - k

    values = ranking_metrics(rankings.hits(k), rankings.relevant.sum(axis=1), [k])

    ndcg = sklearn_metrics.ndcg_score(rankings.relevant, scores, k=k)
    assert values[f"ndcg@{k}"].mean() == pytest.approx(ndcg, rel=1e-12)
    recall = sklearn_metrics.recall_score(rankings.relevant, listed, average="samples")
    assert values[f"recall@{k}"].mean() == pytest.approx(recall, rel=1e-12)
    precision = sklearn_metrics.precision_score(rankings.relevant, listed, average="samples")
    assert values[f"precision@{k}"].mean() == pytest.approx(precision, rel=1e-12)


def test_map_over_the_whole_catalog_is_scikit_learns_average_precision():
    num_items = 30
    rankings = random_rankings(seed=5, num_users=40, num_items=num_items)
    scores = np.empty((40, num_items))
    np.put_along_axis(scores, rankings.order, np.arange(num_items, 0, -1.0)[None], axis=1)

    values = ranking_metrics(rankings.hits(num_items), rankings.relevant.sum(axis=1), [num_items])

    for user in range(40):
        expected = sklearn_metrics.average_precision_score(rankings.relevant[user], scores[user])
        assert values[f"map@{num_items}"][user] == pytest.approx(expected, rel=1e-12)


def test_a_perfect_list_shorter_than_the_relevant_items_loses_only_recall():
    values = ranking_metrics([[True, True]], [5], [2])

    assert {name: float(value[0]) for name, value in values.items()} == {
        "recall@2": 0.4,
        "ndcg@2": 1.0,
        "precision@2": 1.0,
        "map@2": 1.0,
        "hit_rate@2": 1.0,
        "mrr@2": 1.0,
    }


def test_no_hit_scores_zero_in_every_metric():
    values = ranking_metrics([[False, False, False]], [1], [1, 3])

    assert all(value[0] == 0 for value in values.values())


def test_no_users_give_empty_arrays():
    values = ranking_metrics(np.zeros((0, 4), dtype=bool), np.zeros(0, dtype=int), [4])

    assert all(value.shape == (0,) for value in values.values())


@pytest.mark.parametrize(
    ("hits", "num_relevant", "ks", "error", "message"),
    [
        ([[1, 0]], [1], [1], TypeError, "hits must be bool, .* got int64"),
        ([True], [1], [1], ValueError, r"hits must be \(users, ranks\); got \(1,\)"),
        ([[True]], [1.0], [1], TypeError, "num_relevant must be integers; got float64"),
        ([[True]], [1, 2], [1], ValueError, r"one entry per row of hits, \(1,\); got \(2,\)"),
        ([[True], [False]], [1, 0], [1], ValueError, "row 1 has 0. Leave such users out"),
        ([[True, True]], [1], [1], ValueError, "row 0 has 2 hits and num_relevant 1"),
        ([[True]], [1], [], ValueError, r"ks must be a non-empty sequence .* got \[\]"),
        ([[True]], [1], [0], ValueError, r"must be in 1..1 \(the number of columns of hits\)"),
        ([[True]], [1], [2], ValueError, r"must be in 1..1 .* got \[2\]"),
        ([[True]], [1], [1.0], TypeError, "ks must be integers"),
        ([[True]], [1], [1, 1], ValueError, "must not repeat"),
    ],
)
def test_bad_input_is_refused_with_the_contract(hits, num_relevant, ks, error, message):
    with pytest.raises(error, match=message):
        ranking_metrics(hits, num_relevant, ks)
