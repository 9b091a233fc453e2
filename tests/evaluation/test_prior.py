"""Popularity added to scores, against NumPy."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sgfd.backbones import VBPR
from sgfd.data import synthetic_catalog
from sgfd.evaluation import evaluate, popularity, with_popularity

NUM_USERS, NUM_ITEMS = 6, 5
OWN = torch.from_numpy(np.random.default_rng(1).normal(3, 7, size=(NUM_USERS, NUM_ITEMS)))


@pytest.fixture
def train():
    # 5, 3, 0, 1, 2 users; values do not count, and a stored 0 is none.
    dense = np.zeros((NUM_USERS, NUM_ITEMS))
    for item, count in enumerate((5, 3, 1, 1, 2)):
        dense[:count, item] = item + 7
    train = csr_array(dense)
    train.data[train.data == 9] = 0
    return train


def test_it_is_a_share_of_each_users_deviation(train):
    users = torch.tensor([4, 0, 4])
    found = with_popularity(lambda users: OWN[users], train, weight=0.3)(users)

    z = np.log1p([5, 3, 0, 1, 2])
    z = (z - z.mean()) / z.std()
    own = OWN.numpy()[users]
    want = own + 0.3 * own.std(axis=1)[:, None] * z
    np.testing.assert_allclose(found.numpy(), want, rtol=1e-12)
    assert found.dtype == torch.float64


def test_no_weight_changes_nothing_and_much_of_it_ranks_by_popularity(train):
    users = torch.arange(NUM_USERS)
    assert torch.equal(with_popularity(OWN.__getitem__, train, weight=0)(users), OWN)
    for weight, largest in ((1e6, True), (-1e6, False)):
        order = with_popularity(OWN.__getitem__, train, weight=weight)(users).argsort(dim=1)
        want = popularity(train)(users).argsort(dim=1, descending=not largest)
        assert torch.equal(order, want)


def test_scales_and_shifts_of_the_scores_do_not_matter(train):
    users = torch.arange(NUM_USERS)
    want = with_popularity(OWN.__getitem__, train, weight=0.4)(users)
    moved = with_popularity(lambda users: 100 * OWN[users] - 9, train, weight=0.4)(users)
    torch.testing.assert_close(moved, 100 * want - 9)


def test_where_items_are_equally_popular_scores_stay():
    users = torch.tensor([2, 3])
    alike = csr_array(np.ones((NUM_USERS, NUM_ITEMS)))
    assert torch.equal(with_popularity(OWN.__getitem__, alike, weight=2)(users), OWN[users])


def test_half_precision_is_added_in_single(train):
    half = OWN.to(torch.bfloat16)
    found = with_popularity(half.__getitem__, train, weight=0.5)(torch.tensor([1]))
    want = with_popularity(half.float().__getitem__, train, weight=0.5)(torch.tensor([1]))
    assert found.dtype == torch.float32
    assert torch.equal(found, want)


def test_scores_that_cannot_be_added_to_are_refused(train):
    def call(scores):
        with_popularity(scores, train, weight=1)(torch.tensor([1, 2]))

    with pytest.raises(ValueError, match=r"one column per item of train; got \(2, 4\)"):
        call(lambda users: OWN[users, :4])
    with pytest.raises(ValueError, match="must be finite, those of seen items too"):
        call(lambda users: OWN[users].index_fill(1, torch.tensor([3]), -torch.inf))
    with pytest.raises(ValueError, match="NaN"):
        call(lambda users: OWN[users].index_fill(1, torch.tensor([3]), torch.nan))
    with pytest.raises(TypeError, match=r"vectors perhaps. Pass model.scorer\(\)"):
        call((OWN, OWN))
    with pytest.raises(TypeError, match="got a list, vectors perhaps"):
        call([OWN, OWN])
    with pytest.raises(TypeError, match="got a model. Pass its method: model.scores"):
        call(VBPR(train, {"text": np.eye(NUM_ITEMS, dtype=np.float32)}, dim=2))


def test_no_users_have_no_scores(train):
    nobody = torch.empty(0, dtype=torch.int64)
    assert with_popularity(OWN.__getitem__, train, weight=1)(nobody).shape == (0, NUM_ITEMS)


def test_a_model_is_ranked_with_it():
    data = synthetic_catalog(num_users=60, num_items=40)
    model = VBPR(data.train, data.features, dim=4)

    def found(weight):
        scores = with_popularity(model.scorer(), data.train, weight=weight)
        return evaluate(scores, data.test, seen=data.seen).means()

    assert found(0.0) == evaluate(model.scorer(), data.test, seen=data.seen).means()
    assert len({found(weight)["ndcg@20"] for weight in (0.0, 0.5, -0.5)}) == 3
