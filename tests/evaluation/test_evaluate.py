"""All-ranking evaluation: masking, batches, skipped users, contracts."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array, csr_matrix

from sgfd.evaluation import Evaluation, evaluate

NUM_USERS, NUM_ITEMS = 23, 31


@pytest.fixture
def case() -> tuple[torch.Tensor, csr_array, csr_array]:
    """Scores, target (some users have none) and seen, disjoint."""
    return random_case(seed=11)


def random_case(seed: int) -> tuple[torch.Tensor, csr_array, csr_array]:
    rng = np.random.default_rng(seed)
    scores = torch.from_numpy(rng.normal(size=(NUM_USERS, NUM_ITEMS)))
    part = rng.choice(["none", "seen", "target"], p=[0.6, 0.3, 0.1], size=(NUM_USERS, NUM_ITEMS))
    part[[4, 9], :] = np.where(part[[4, 9], :] == "target", "none", part[[4, 9], :])
    part[0, 0] = "target"
    return scores, csr_array(part == "target", dtype=float), csr_array(part == "seen", dtype=float)


def recall_by_hand(scores, target, seen, users, k) -> list[float]:
    recalls = []
    for user in users:
        relevant = set(np.flatnonzero(target.toarray()[user]).tolist())
        unseen = [i for i in range(NUM_ITEMS) if not seen.toarray()[user, i]]
        best = sorted(unseen, key=lambda item: -scores[user, item])[:k]
        recalls.append(len(relevant & set(best)) / len(relevant))
    return recalls


@given(seed=st.integers(0, 2**32 - 1), k=st.integers(1, NUM_ITEMS), batch=st.integers(1, 30))
def test_recall_is_that_of_the_unseen_items_sorted_by_score(seed, k, batch):
    scores, target, seen = random_case(seed)

    result = evaluate(lambda users: scores[users], target, seen=seen, ks=[k], batch_size=batch)

    assert result.users.tolist() == np.flatnonzero(target.sum(axis=1)).tolist()
    expected = recall_by_hand(scores, target, seen, result.users, k)
    assert result.per_user[f"recall@{k}"].tolist() == pytest.approx(expected, rel=1e-15)


def test_users_without_a_target_item_are_left_out_and_counted(case):
    scores, target, seen = case

    result = evaluate(lambda users: scores[users], target, seen=seen)

    assert not {4, 9} & set(result.users.tolist())
    assert len(result.users) + result.num_skipped == NUM_USERS
    assert result.num_skipped == (target.sum(axis=1) == 0).sum()


def test_means_are_over_the_evaluated_users(case):
    scores, target, seen = case

    result = evaluate(lambda users: scores[users], target, seen=seen, ks=[3])

    assert result.means()["map@3"] == result.per_user["map@3"].sum() / len(result.users)
    assert list(result.means()) == list(result.per_user)
    assert all(values.dtype == np.float64 for values in result.per_user.values())
    assert result.users.dtype == np.int64


def test_the_batch_size_changes_nothing(case):
    scores, target, seen = case
    whole, *parts = [
        evaluate(lambda users: scores[users], target, seen=seen, batch_size=size)
        for size in (1000, 1, 7)
    ]

    for part in parts:
        for name, values in whole.per_user.items():
            np.testing.assert_array_equal(part.per_user[name], values)


def test_each_batch_asks_for_at_most_batch_size_users(case):
    scores, target, _ = case
    asked: list[torch.Tensor] = []

    def remember(users: torch.Tensor) -> torch.Tensor:
        asked.append(users)
        return scores[users]

    result = evaluate(remember, target, batch_size=5)

    assert all(len(users) <= 5 and users.dtype == torch.int64 for users in asked)
    assert torch.cat(asked).tolist() == result.users.tolist()


def test_only_the_given_users_are_evaluated_in_the_given_order(case):
    scores, target, seen = case
    everyone = evaluate(lambda users: scores[users], target, seen=seen)
    chosen = [everyone.users[3], 4, everyone.users[1]]

    some = evaluate(lambda users: scores[users], target, seen=seen, users=chosen)

    assert some.users.tolist() == [everyone.users[3], everyone.users[1]]
    assert some.num_skipped == 1
    np.testing.assert_array_equal(some.per_user["ndcg@20"], everyone.per_user["ndcg@20"][[3, 1]])


def test_seen_items_never_take_a_place_in_the_list():
    scores = torch.tensor([[9.0, 8.0, 1.0, 2.0]])
    seen, target = csr_array([[1, 1, 0, 0]]), csr_array([[0, 0, 1, 1]])

    result = evaluate(lambda users: scores[users], target, seen=seen, ks=[1, 2])

    assert result.per_user["recall@2"].tolist() == [1.0]
    assert result.per_user["precision@1"].tolist() == [1.0]


def test_a_list_cut_short_by_seen_items_holds_no_further_hits():
    scores = torch.tensor([[3.0, 2.0, 1.0, 0.0]])
    seen, target = csr_array([[1, 1, 1, 0]]), csr_array([[0, 0, 0, 1]])

    result = evaluate(lambda users: scores[users], target, seen=seen, ks=[4])

    assert result.means() == {
        "recall@4": 1.0,
        "ndcg@4": 1.0,
        "precision@4": 0.25,
        "map@4": 1.0,
        "hit_rate@4": 1.0,
        "mrr@4": 1.0,
    }


def test_an_item_the_model_scores_minus_infinity_is_no_hit():
    scores = torch.tensor([[-torch.inf, 1.0]])

    result = evaluate(lambda users: scores[users], csr_array([[1, 0]]), ks=[2])

    assert result.means()["recall@2"] == 0


def test_the_tensor_that_scores_returns_is_left_as_it_was(case):
    scores, _, _ = case
    kept = scores.clone()
    target, seen = (csr_array(np.eye(NUM_USERS, NUM_ITEMS, offset)) for offset in (0, 1))

    def own_tensor(users: torch.Tensor) -> torch.Tensor:
        assert len(users) == len(scores)
        return scores

    evaluate(own_tensor, target, seen=seen)

    torch.testing.assert_close(scores, kept, rtol=0, atol=0)


def test_scores_are_asked_for_without_gradient(case):
    scores, target, _ = case
    weights = scores.clone().requires_grad_()
    grad_enabled: list[bool] = []

    def score(users: torch.Tensor) -> torch.Tensor:
        grad_enabled.append(torch.is_grad_enabled())
        return weights[users]

    evaluate(score, target)

    assert set(grad_enabled) == {False}
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_any_floating_dtype_gives_the_ranking_of_its_own_values(dtype):
    scores = torch.tensor([[1.0, 4.0, 2.0], [3.0, 1.0, 2.0]], dtype=dtype)
    seen, target = csr_array([[0, 1, 0], [0, 0, 0]]), csr_array([[0, 0, 1], [0, 1, 0]])

    result = evaluate(lambda users: scores[users], target, seen=seen, ks=[1])

    assert result.per_user["recall@1"].tolist() == [1.0, 0.0]


def test_duplicate_entries_and_stored_zeros_of_target_count_once_and_not_at_all():
    scores = torch.tensor([[3.0, 2.0, 1.0]])
    target = coo_array(([1.0, 1.0, 0.0], ([0, 0, 0], [0, 0, 2])), shape=(1, 3))
    seen = csr_matrix(([0.0], ([0], [0])), shape=(1, 3))

    result = evaluate(lambda users: scores[users], target, seen=seen, ks=[3])

    assert result.means()["recall@3"] == 1.0
    assert target.nnz == 3


def test_a_progress_bar_is_shown_when_asked_for(case, capfd):
    scores, target, _ = case

    evaluate(lambda users: scores[users], target)
    assert capfd.readouterr().err == ""
    evaluate(lambda users: scores[users], target, progress=True)
    assert "evaluate: 100%" in capfd.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_scores_on_a_gpu_rank_as_on_the_cpu(case):
    scores, target, seen = case
    there = scores.to("cuda")

    result = evaluate(lambda users: there[users], target, seen=seen, device="cuda")

    expected = evaluate(lambda users: scores[users], target, seen=seen)
    for name, values in expected.per_user.items():
        np.testing.assert_array_equal(result.per_user[name], values)


class Model(torch.nn.Module):
    def scores(self, users: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


ONE_EACH = csr_array(np.eye(2, 3))
FLAT = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("scores", "options", "error", "message"),
    [
        (Model(), {}, TypeError, "got a model. Pass its method: model.scores"),
        (lambda users: FLAT[users].numpy(), {}, TypeError, "must return a Tensor; got ndarray"),
        (lambda users: FLAT[users].long(), {}, TypeError, "floating point .* got torch.int64"),
        (lambda users: FLAT[users][:, :2], {}, ValueError, r"= \(2, 3\), .* got \(2, 2\)"),
        (lambda users: FLAT[users][0], {}, ValueError, r"= \(2, 3\), .* got \(3,\)"),
        (
            lambda users: FLAT[users].index_fill(1, torch.tensor([2]), torch.nan),
            {},
            ValueError,
            "score of user 0 for item 2 is. Has training diverged",
        ),
        (None, {"ks": ()}, ValueError, "ks must be a non-empty sequence"),
        (None, {"ks": (0, 2)}, ValueError, r"in 1..3 \(the number of items\); got \(0, 2\)"),
        (None, {"ks": (4,)}, ValueError, r"in 1..3 \(the number of items\); got \(4,\)"),
        (None, {"ks": 2}, ValueError, "ks must be a non-empty sequence"),
        (None, {"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1"),
        (None, {"seen": np.eye(2, 3)}, TypeError, "seen must be a SciPy sparse .* got ndarray"),
        (None, {"seen": csr_array((3, 2))}, ValueError, r"got \(3, 2\) and \(2, 3\)"),
        (
            None,
            {"seen": csr_array([[0, 1, 0], [0, 1, 1]])},
            ValueError,
            "must be disjoint: .* 1 pairs are in both, e.g. user 1, item 1",
        ),
        (None, {"users": [0, 0]}, ValueError, "users must not repeat"),
        (None, {"users": [0, 2]}, ValueError, r"users must be in 0..1; got 0..2"),
        (None, {"users": [-1]}, ValueError, r"users must be in 0..1; got -1..-1"),
        (None, {"users": [0.5]}, TypeError, "integer user indices; got float64"),
    ],
)
def test_bad_input_is_refused_with_the_contract(scores, options, error, message):
    options = {"ks": (1,)} | options
    with pytest.raises(error, match=message):
        evaluate(scores or (lambda users: FLAT[users]), ONE_EACH.copy(), **options)


def test_the_nan_of_a_seen_item_is_refused_too():
    scores = torch.tensor([[torch.nan, 1.0]])

    with pytest.raises(ValueError, match="user 0 for item 0"):
        evaluate(lambda users: scores[users], csr_array([[0, 1]]), seen=csr_array([[1, 0]]), ks=[1])


def test_a_dense_target_is_refused():
    with pytest.raises(TypeError, match=r"target must be a SciPy sparse .* got ndarray"):
        evaluate(lambda users: FLAT[users], np.eye(2, 3), ks=[1])


def test_an_empty_target_is_refused():
    with pytest.raises(ValueError, match="none of the 2 users has a target item"):
        evaluate(lambda users: FLAT[users], csr_array((2, 3)), ks=[1])


def test_an_evaluation_is_a_plain_tuple_of_users_values_and_count():
    users, per_user, num_skipped = Evaluation(np.arange(1), {"mrr@1": np.ones(1)}, 3)

    assert (users.tolist(), list(per_user), num_skipped) == ([0], ["mrr@1"], 3)
