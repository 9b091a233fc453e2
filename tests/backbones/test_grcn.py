"""GRCN's own mathematics, beyond what the authors' code computes."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from sgfd import distill
from sgfd.backbones import GRCN, Batch, concat_fusion, id_fusion, mean_fusion
from sgfd.backbones._grcn_graph import attention_of
from sgfd.backbones._grcn_steps import partial_softmax
from sgfd.graph import dropout_edges, edge_softmax, mask_edges

USERS, ITEMS = 9, 11


def interactions():
    matrix = (np.random.default_rng(0).random((USERS, ITEMS)) < 0.4).astype(float)
    matrix[2], matrix[:, 3] = 0, 0  # a user without items and an item without users
    return csr_array(matrix)


def features(*names):
    generator = torch.Generator().manual_seed(3)
    widths = {"image": 12, "text": 7, "audio": 5}
    return {m: torch.randn(ITEMS, widths[m], generator=generator) for m in names}


def batch():
    return Batch(
        torch.tensor([0, 1, 1, 8]),
        torch.tensor([4, 0, 5, 10]),
        torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]]),
    )


def dense_softmax(scores, there):
    filled = scores.masked_fill(~there, -torch.inf)
    return filled.softmax(-1).nan_to_num(0.0)


def dense_representations(model, names, *, weigh, fuse):
    """The equations of the docstring on dense matrices."""
    there = torch.from_numpy(interactions().toarray() > 0)
    contents, to_users, to_items = [], [], []
    for k, m in enumerate(names):
        f = F.normalize(F.leaky_relu(model.projections[m](features(*names)[m])))
        p = F.normalize(model.preferences[m].weight)
        for _ in range(model.num_routings):
            p = F.normalize(p + dense_softmax(p @ f.T, there) @ f)
        a_users = dense_softmax(p @ f.T, there)
        a_items = dense_softmax((p @ f.T).T, there.T)
        contents.append((p + a_users @ f, f + a_items @ p))
        to_users.append(a_users * model.item_confidence[:, k])
        to_items.append(a_items * model.user_confidence[:, k])
    w_users, w_items = weigh(torch.stack(to_users)), weigh(torch.stack(to_items))
    users, items = (
        F.normalize(model.user_embedding.weight),
        F.normalize(model.item_embedding.weight),
    )
    sum_users, sum_items = users, items
    for _ in range(model.num_layers):
        users, items = w_users @ items, w_items @ users
        sum_users, sum_items = sum_users + users, sum_items + items
    return (
        fuse([sum_users, *(c[0] for c in contents)]),
        fuse([sum_items, *(c[1] for c in contents)]),
    )


@pytest.mark.parametrize("names", [("text",), ("image", "text"), ("audio", "image", "text")])
def test_representations_equal_the_equations_on_dense_matrices(names):
    model = GRCN(interactions(), features(*names), dim=6, num_routings=2, num_layers=3, seed=1)
    expected = dense_representations(
        model, names, weigh=lambda w: w.amax(0).relu(), fuse=lambda x: torch.cat(x, -1)
    )
    torch.testing.assert_close(model.representations(), expected)


@pytest.mark.parametrize(
    ("fusion", "fuse"),
    [(mean_fusion, lambda x: sum(x) / len(x)), (id_fusion, lambda x: x[0])],
)
def test_other_fusions_and_pools_equal_theirs(fusion, fuse):
    names = ("image", "text")
    model = GRCN(
        interactions(), features(*names), dim=6, fusion=fusion, pool=torch.mean, prune=False
    )
    expected = dense_representations(model, names, weigh=lambda w: w.mean(0), fuse=fuse)
    torch.testing.assert_close(model.representations(), expected)


def test_the_loss_equals_its_equation():
    model = GRCN(interactions(), features("image", "text"), dim=6, reg_weight=0.3)
    users, items = model.representations()
    scores = users @ items.T
    u, i, negatives = batch()
    ranking = torch.stack(
        [
            -F.logsigmoid(scores[u[b], i[b]] - scores[u[b], j])
            for b in range(4)
            for j in negatives[b]
        ]
    ).mean()
    ids = model.user_embedding.weight[u].square().mean()
    rows = torch.cat([i[:, None], negatives], 1).flatten()
    ids = ids + model.item_embedding.weight[rows].square().mean()
    tastes = sum(p.weight[u].square().mean() for p in model.preferences.values())
    torch.testing.assert_close(model(batch()), ranking + 0.3 * (ids + tastes))


def test_routing_moves_users_towards_their_items_and_leaves_those_without_any():
    plain, routed = (
        GRCN(interactions(), features("image"), dim=6, num_routings=n).contents()[0] for n in (0, 1)
    )
    moved = (plain.users - routed.users).abs().sum(1) > 1e-4
    alone = torch.from_numpy(interactions().sum(1) == 0)
    assert moved.equal(~alone)


def test_dropped_edges_carry_nothing_and_scores_never_drop_any():
    model = GRCN(interactions(), features("image"), dim=6, dropout=0.9)
    exact = model.representations()
    assert model.training
    torch.testing.assert_close(model.scores(torch.arange(USERS)), exact[0] @ exact[1].T)
    torch.manual_seed(0)
    dropped = model(batch())
    torch.manual_seed(0)
    kept = F.dropout(torch.ones(model.graph.num_edges), 0.9)
    users, _ = model.representations(partial(partial_softmax, kept=kept, there=None))
    alone = torch.ones(USERS, dtype=torch.bool)
    alone[model.graph.edge_users[kept > 0]] = False
    assert alone.sum() > 3  # of those whose every edge fell, only what they are is left
    untouched = concat_fusion(
        F.normalize(model.user_embedding.weight), [F.normalize(model.preferences["image"].weight)]
    )
    torch.testing.assert_close(users[alone], untouched[alone])
    assert not torch.allclose(dropped, model.eval()(batch()))


def some_edges():
    """A batch of edges, all those of user 1 and others."""
    users, items = map(torch.from_numpy, interactions().nonzero())
    chosen = (users == 1) | (torch.arange(len(users)) % 4 == 0)
    users, items = users[chosen].long(), items[chosen].long()
    return Batch(users, items, ((items + 1) % ITEMS)[:, None])


def test_edges_left_out_are_as_if_not_there():
    x, (users, items, _) = features("image", "text"), some_edges()
    model = GRCN(interactions(), x, dim=6, target_edges=False)
    without = interactions().toarray()
    without[users, items] = 0
    assert 10 < without.sum() < interactions().sum() - 10
    smaller = GRCN(csr_array(without), x, dim=6)
    there = mask_edges(model.graph.to_users, users, items)
    found = model.representations(partial(partial_softmax, kept=None, there=there))
    for got, want in zip(found, smaller.representations(), strict=True):
        torch.testing.assert_close(got, want)
    loss = smaller(some_edges())
    torch.testing.assert_close(model(some_edges()), loss)
    # Without training they are there.
    as_ever = GRCN(interactions(), x, dim=6).eval()(some_edges())
    torch.testing.assert_close(model.eval()(some_edges()), as_ever)
    assert abs(as_ever - loss) > 1e-3


def test_edges_left_out_stand_beside_those_dropped():
    model = GRCN(interactions(), features("image"), dim=6, dropout=0.5, target_edges=False)
    pairs = some_edges()[:2]
    torch.manual_seed(0)
    kept = dropout_edges(model.graph.to_users, 0.5)
    there = mask_edges(model.graph.to_users, *pairs)
    torch.manual_seed(0)
    step = attention_of(model, model.graph, *pairs)
    found, with_both, with_kept, with_there = (
        model.representations(attention)[0]
        for attention in (
            step,
            partial(partial_softmax, kept=kept, there=there),
            partial(partial_softmax, kept=kept, there=None),
            partial(partial_softmax, kept=None, there=there),
        )
    )
    assert torch.equal(found, with_both)
    for one in (with_kept, with_there):
        assert not torch.allclose(found, one)
    assert attention_of(model.eval(), model.graph, *pairs) is edge_softmax


def test_without_confidence_there_is_no_parameter_for_it():
    with_it, without = (
        GRCN(interactions(), features("image"), dim=6, confidence=c) for c in (True, False)
    )
    extra = set(with_it.state_dict()) - set(without.state_dict())
    assert extra == {"user_confidence", "item_confidence"}
    without(batch()).backward()
    assert all(p.grad is not None for p in without.parameters())


def test_items_without_a_modality_train_with_finite_gradients():
    x = features("image", "text")
    x["image"][4] = 0
    model = distill(GRCN(interactions(), x, dim=6), x, torch.arange(ITEMS) % 3)
    model(batch()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name


def test_options_out_of_range_are_named():
    with pytest.raises(ValueError, match="num_layers must be an integer of at least 0; got -1"):
        GRCN(interactions(), features("image"), num_layers=-1)
    with pytest.raises(ValueError, match="dropout must be at least 0 and below 1; got 1.0"):
        GRCN(interactions(), features("image"), dropout=1.0)
