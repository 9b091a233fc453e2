"""The release's own metrics: its stored numbers, and its definitions taken literally."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sgfd.evaluation import (
    bm3_ndcg,
    bm3_release_metrics,
    evaluate,
    grcn_full_accuracy,
    micro_recall,
    retrieved_ndcg,
)

GOLDEN = Path(__file__).parents[1] / "golden" / "grcn_sgfd_default.npz"


def random_hits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).random((200, 20)) < 0.1


@pytest.mark.parametrize("batch_size", [16, 1000])
def test_full_accuracy_is_what_the_release_measured_on_its_own_scores(batch_size):
    golden = np.load(GOLDEN, allow_pickle=False)
    num_users, num_items = int(golden["n_users"]), int(golden["n_items"])
    result = torch.from_numpy(golden["result"])
    rows = golden["eval_test"]
    target = csr_array(
        (np.ones(2 * len(rows)), (rows[:, 0].repeat(2), rows[:, 1:].ravel() - num_users)),
        shape=(num_users, num_items),
    )
    train_items = golden["edge_item_plus_num_user"] - num_users
    seen = csr_array(
        (np.ones(len(train_items)), (golden["edge_user"], train_items)), shape=target.shape
    )

    measured = grcn_full_accuracy(
        lambda users: result[users] @ result[num_users:].T,
        target,
        seen=seen,
        k=5,
        batch_size=batch_size,
    )

    expected = golden["eval_step16_top5_prec_rec_ndcg_hk_hkrec"]
    np.testing.assert_allclose(measured, expected, rtol=0, atol=1e-7)


def test_full_accuracy_lets_seen_items_pass_those_with_lower_scores():
    scores = torch.tensor([[0.9, -0.5, 0.4, -0.2]])
    seen, target = csr_array([[1, 0, 0, 0]]), csr_array([[0, 0, 1, 1]])

    measured = grcn_full_accuracy(lambda users: scores[users], target, seen=seen, k=2)

    assert measured.recall == measured.hit_recall == 0.5  # item 0 stands before item 3
    assert measured.ndcg == 1.0  # one hit, at rank 1, is all that was retrieved
    standard = evaluate(lambda users: scores[users], target, seen=seen, ks=[2])
    assert standard.means()["recall@2"] == 1.0


def test_retrieved_ndcg_divides_by_the_ideal_of_the_hits_in_the_list():
    hits = random_hits()

    values = retrieved_ndcg(hits)

    for row, value in zip(hits, values, strict=True):
        gains = [1 / math.log(rank + 2) for rank in np.flatnonzero(row)]
        ideal = sum(1 / math.log(i + 2) for i in range(len(gains)))
        assert value == pytest.approx(sum(gains) / ideal if gains else 0.0, rel=1e-13)


@pytest.mark.parametrize("k", [1, 10, 20])
def test_bm3_ndcg_takes_gains_from_the_whole_list_and_the_ideal_from_above_rank_k(k):
    hits = random_hits()

    values = bm3_ndcg(hits, k)

    for row, value in zip(hits, values, strict=True):
        gain = sum(1 / math.log(rank + 2) for rank in range(20) if row[rank])
        ideal = sum(1 / math.log(i + 2) for i in range(sum(row[: k - 1])))
        assert value == pytest.approx(gain / ideal if ideal else 0.0, rel=1e-13)
    assert (k == 1) == (values.max() == 0)


def test_micro_recall_weighs_users_by_their_relevant_items():
    assert micro_recall([[True, True], [True, False]], [2, 8]) == 0.3


def test_bm3_release_metrics_are_its_two_metrics_of_the_masked_lists():
    rng = np.random.default_rng(2)
    scores = torch.from_numpy(rng.normal(size=(50, 40)))
    part = rng.choice([0, 1, 2], p=[0.7, 0.2, 0.1], size=scores.shape)
    part[:5] = np.minimum(part[:5], 1)  # users without a target item
    target, seen = csr_array(part == 2), csr_array(part == 1)

    values = bm3_release_metrics(
        lambda users: scores[users], target, seen=seen, ks=(5, 10), batch_size=7
    )

    order = np.argsort(-np.where(part == 1, -1e10, scores.numpy()), axis=1)[:, :10]
    hits = np.take_along_axis(part == 2, order, axis=1)[(part == 2).any(axis=1)]
    assert values == {
        "micro_recall@5": hits[:, :5].sum() / target.nnz,
        "micro_recall@10": hits.sum() / target.nnz,
        "bm3_ndcg@5": bm3_ndcg(hits, 5).mean(),
        "bm3_ndcg@10": bm3_ndcg(hits, 10).mean(),
    }


def test_a_target_item_that_was_seen_is_allowed_as_in_the_release():
    scores = torch.tensor([[-1.0, -2.0, -3.0]])
    both = csr_array([[0, 0, 1]])

    measured = grcn_full_accuracy(lambda users: scores[users], both, seen=both, k=1)

    assert measured.recall == 1.0  # 1e-5 is the best score there


def test_item_indices_instead_of_hits_are_refused():
    with pytest.raises(TypeError, match="hits must be bool"):
        retrieved_ndcg([[3, 0]])
    with pytest.raises(TypeError, match="hits must be bool"):
        bm3_ndcg([[3, 0]], 2)
    with pytest.raises(ValueError, match=r"one entry per row of hits, \(1,\); got \(2,\)"):
        micro_recall([[True, False]], [1, 1])
    with pytest.raises(ValueError, match=r"in 1..2 \(the number of columns of hits\)"):
        bm3_ndcg([[True, False]], 3)
