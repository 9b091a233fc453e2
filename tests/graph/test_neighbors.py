"""The part of the graph that a batch is computed on."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array
from scipy.stats import chisquare

from sgfd.backbones import Batch
from sgfd.data import PairSampler
from sgfd.graph import Bipartite, NeighborBatch, NeighborSampler, propagate, spmm

USERS, ITEMS = 30, 20


def interactions(density=0.2):
    matrix = (np.random.default_rng(0).random((USERS, ITEMS)) < density).astype(float)
    matrix[2], matrix[:, 3] = 0, 0  # a user without items and an item without users
    return csr_array(matrix)


def batch():
    return Batch(torch.tensor([0, 2, 0]), torch.tensor([4, 3, 9]), torch.tensor([[1], [2], [4]]))


def pairs_of(part):
    return set(zip(part.user_nodes[part.edge_users].tolist(),
                   part.item_nodes[part.edge_items].tolist(), strict=True))  # fmt: skip


def test_the_part_holds_the_batch_and_edges_of_the_graph_alone():
    part = NeighborSampler(interactions(), num_neighbors=[3, 2], seed=1)(batch())
    assert isinstance(part, NeighborBatch)
    for mine, given in zip(part[:3], batch(), strict=True):
        assert torch.equal(mine, given)
    assert {0, 2} <= set(part.user_nodes.tolist())
    assert {1, 2, 3, 4, 9} <= set(part.item_nodes.tolist())
    assert part.user_nodes.diff().min() > 0 < part.item_nodes.diff().min()
    there = interactions().toarray() > 0
    pairs = pairs_of(part)
    assert len(pairs) == len(part.to_users.column)
    assert all(there[pair] for pair in pairs)


def test_each_hop_brings_as_many_neighbors_as_it_may_and_there_are():
    there = interactions(0.5).toarray() > 0
    one = Batch(torch.tensor([0]), torch.tensor([4]), torch.tensor([[5]]))
    part = NeighborSampler(interactions(0.5), num_neighbors=[3])(one)
    assert there[0].sum() > 4
    of_user = [i for u, i in pairs_of(part) if u == 0]
    assert 3 <= len(of_user) <= 5  # those of items 4 and 5, which drew users, come to it
    others = pairs_of(part) - {(0, i) for i in of_user}
    assert {i for _, i in others} <= {4, 5}
    assert sum(i == 4 for _, i in pairs_of(part)) in (3, 4)
    everything = NeighborSampler(interactions(0.5), num_neighbors=[-1])(one)
    assert sum(u == 0 for u, _ in pairs_of(everything)) == there[0].sum()


def test_all_neighbors_over_enough_hops_are_the_component_with_the_graphs_own_weights():
    graph = Bipartite(interactions())
    part = NeighborSampler(interactions(), num_neighbors=[-1] * 20)(batch())
    alone = set(range(USERS)) - set(part.user_nodes.tolist())
    assert all(interactions().toarray()[u].sum() == 0 for u in alone)
    assert len(part.to_users.column) == graph.num_edges
    assert torch.equal(part.to_users.weights, graph.weights)
    users, items = torch.randn(USERS, 4), torch.randn(ITEMS, 4)
    to_users, to_items = propagate(graph, users, items)
    got = spmm(part.to_users, items[part.item_nodes])
    torch.testing.assert_close(got, to_users[part.user_nodes])
    got = spmm(part.to_items, users[part.user_nodes])
    torch.testing.assert_close(got, to_items[part.item_nodes])


def test_weights_are_those_of_the_whole_graph_where_neighbors_are_left_out():
    graph = Bipartite(interactions())
    dense = torch.zeros(USERS, ITEMS)
    dense[graph.edge_users, graph.edge_items] = graph.weights
    part = NeighborSampler(interactions(), num_neighbors=[2])(batch())
    expected = dense[part.user_nodes[part.edge_users], part.item_nodes[part.edge_items]]
    assert torch.equal(part.to_users.weights, expected)


def test_what_is_drawn_depends_on_seed_and_batch_alone_and_no_generator_moves():
    sampler = PairSampler(interactions(0.5), batch_size=16, seed=3)
    around = NeighborSampler(interactions(0.5), num_neighbors=[2, 2], seed=5)
    torch.manual_seed(1), np.random.seed(2), random.seed(3)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    epoch = [around(b) for b in sampler.epoch(0)]
    after = torch.get_rng_state(), np.random.get_state()[1], random.getstate()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert (before[1] == after[1]).all()
    assert before[2] == after[2]
    torch.manual_seed(99)
    again = NeighborSampler(interactions(0.5), num_neighbors=[2, 2], seed=5)
    resumed = [again(b) for b in sampler.epoch(0, start=2)]
    assert [pairs_of(p) for p in resumed] == [pairs_of(p) for p in epoch[2:]]
    other = NeighborSampler(interactions(0.5), num_neighbors=[2, 2], seed=6)
    assert [pairs_of(other(b)) for b in sampler.epoch(0)] != [pairs_of(p) for p in epoch]


def test_every_subset_is_drawn_as_often_as_any():
    star = csr_array(np.ones((1, 6)))
    one = Batch(torch.tensor([0]), torch.tensor([5]), torch.zeros(1, 0, dtype=torch.long))
    counts = Counter()
    for seed in range(3000):
        part = NeighborSampler(star, num_neighbors=[3], seed=seed)(one)
        assert len(pairs_of(part)) in (3, 4)  # item 5 draws its one user
        counts[tuple(part.item_nodes.tolist())] += 1
    # {5} is there anyway: each of 10 subsets of three others by one in 20, of two by one in 20.
    assert len(counts) == 20
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_it_moves_to_a_device_as_a_whole():
    part = NeighborSampler(interactions(), num_neighbors=[2])(batch()).to("meta")
    assert all(x.is_meta for x in (*part[:5], *part.to_users))


def test_wrong_calls_are_named():
    for numbers in (5, [], [3, 0]):
        with pytest.raises(ValueError, match="num_neighbors must have a number for each hop"):
            NeighborSampler(interactions(), num_neighbors=numbers)
    with pytest.raises(ValueError, match=r"num_neighbors\[1\] must be an integer of at least -1"):
        NeighborSampler(interactions(), num_neighbors=[3, -2])
    around = NeighborSampler(interactions())
    with pytest.raises(TypeError, match="A batch must be a Batch or a tuple of users, items"):
        around(batch()[:2])
    with pytest.raises(
        TypeError, match="A batch's items must be a tensor of int64 or int32 indices"
    ):
        around((batch().users, batch().items.float(), batch().negatives))
    with pytest.raises(ValueError, match=r"A batch's negatives must be in 0\.\.19; got 1\.\.20"):
        around(batch()._replace(negatives=torch.tensor([[1], [20], [4]])))
