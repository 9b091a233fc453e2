"""GRCN on the part of the graph around a batch."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sgfd import distill
from sgfd.backbones import GRCN, Batch, LazyAdam, mean_fusion
from sgfd.data import PairSampler, synthetic_catalog
from sgfd.graph import NeighborSampler

USERS, ITEMS = 60, 50


def interactions():
    # Sparse enough that a few hops do not reach everything, with two long ways out of the batch.
    matrix = (np.random.default_rng(4).random((USERS, ITEMS)) < 0.035).astype(float)
    matrix[[5, 7, 8]], matrix[:, [10, 11, 13, 14, 20]] = 0, 0
    matrix[:3, :4] = [[1, 1, 0, 0], [0, 1, 1, 0], [1, 0, 0, 1]]
    for user, item in [(0, 10), (5, 10), (5, 11), (7, 20), (7, 13), (8, 13), (8, 14)]:
        matrix[user, item] = 1
    return csr_array(matrix)


def features():
    generator = torch.Generator().manual_seed(3)
    widths = {"a": 12, "b": 7}
    return {m: torch.randn(ITEMS, w, generator=generator).double() for m, w in widths.items()}


def batch():
    return Batch(torch.tensor([0, 1]), torch.tensor([1, 2]), torch.tensor([[3, 20], [0, 3]]))


def part_of(hops, **options):
    return NeighborSampler(interactions(), num_neighbors=[-1] * hops, **options)(batch())


def result(model, given):
    model.zero_grad(set_to_none=True)
    loss = model(given)
    loss.backward()
    return loss.detach(), {n: p.grad for n, p in model.named_parameters()}


def alike(a, b):
    try:
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-12)
    except AssertionError:
        return False
    return True


@pytest.mark.parametrize(
    ("options", "hops"),
    [
        ({}, 3),
        ({"target_edges": False}, 3),
        ({"num_layers": 1}, 2),
        ({"num_layers": 0}, 2),
        ({"num_layers": 3, "num_routings": 1}, 4),
        ({"num_routings": 0}, 2),
        ({"num_layers": 0, "num_routings": 0}, 1),
        ({"confidence": False, "pool": torch.mean, "prune": False, "fusion": mean_fusion}, 3),
    ],
)
def test_all_neighbors_over_enough_hops_give_the_loss_and_gradients_of_the_whole_graph(
    options, hops
):
    model = GRCN(interactions(), features(), dim=6, seed=2, **options).double()
    whole = result(model, batch())
    part = part_of(hops)
    assert len(part.item_nodes) < ITEMS
    assert len(part.user_nodes) < USERS
    assert alike(result(model, part), whole)
    if hops > 1:  # and fewer do not
        assert not alike(result(model, part_of(hops - 1)), whole)


def test_distilled_too_where_the_distillation_loss_reads_the_batchs_own_items():
    x = features()
    model = distill(GRCN(interactions(), x, dim=6, seed=2).double(), x, torch.arange(ITEMS) % 5)
    part = part_of(3)
    assert torch.equal(model.items_of(part), torch.tensor([1, 3, 20, 2, 0, 3]))
    assert alike(result(model, part), result(model, batch()))
    terms = model.distillation_terms(model.items_of(batch()))
    torch.testing.assert_close(model.loss_and_terms(part)[1], terms)


def test_only_the_parts_rows_are_read(tmp_path, monkeypatch):
    x = {}
    for m, values in features().items():
        np.save(tmp_path / f"{m}.npy", values.numpy())
        x[m] = np.load(tmp_path / f"{m}.npy", mmap_mode="r")
    model = GRCN(interactions(), x, dim=6, seed=2, sparse=True)
    read, table = [], type(model.features["a"])
    own = table._read_map
    monkeypatch.setattr(
        table, "_read_map", lambda self, rows: read.append(rows.tolist()) or own(self, rows)
    )
    part = NeighborSampler(interactions(), num_neighbors=[2, 1])(batch())
    model(part).backward()
    assert read == [part.item_nodes.tolist()] * 2
    rows = model.item_embedding.weight.grad.coalesce().indices().flatten()
    assert torch.equal(rows, part.item_nodes)
    for taste in model.preferences.values():
        rows = taste.weight.grad.coalesce().indices().flatten()
        assert torch.equal(rows, part.user_nodes)


def test_dropped_edges_are_those_of_the_part():
    model = GRCN(interactions(), features(), dim=6, dropout=0.5).double()
    torch.manual_seed(0)
    dropped = model(part_of(3))
    torch.manual_seed(0)
    assert torch.equal(model(part_of(3)), dropped)
    assert not torch.equal(model.eval()(part_of(3)), dropped)


@pytest.mark.parametrize("sparse", [False, True])
def test_it_learns_from_sampled_parts(sparse):
    data = synthetic_catalog(num_users=60, num_items=40, seed=1)
    model = distill(
        GRCN(data.train, data.features, dim=8, sparse=sparse), data.features, data.labels
    )
    optimizer = LazyAdam(model, lr=1e-2) if sparse else torch.optim.Adam(model.parameters(), 1e-2)
    around = NeighborSampler(data.train, num_neighbors=[4, 3, 3], seed=0)
    losses = []
    for epoch in range(5):
        for part in map(around, PairSampler(data.train, batch_size=64, seed=0).epoch(epoch)):
            optimizer.zero_grad()
            loss = model(part)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert np.mean(losses[-8:]) < 0.9 * np.mean(losses[:8])


def test_parts_of_another_graph_and_kept_outputs_are_refused():
    model = GRCN(interactions(), features(), dim=6, refresh_every=2)
    with pytest.raises(ValueError, match="refresh_every must be 1 for a NeighborBatch"):
        model(part_of(1))
    model = GRCN(interactions()[:, :30], {m: x[:30] for m, x in features().items()}, dim=6)
    with pytest.raises(ValueError, match=r"A batch's item_nodes must be in 0\.\.29; got"):
        model(part_of(5))


def test_pairs_that_were_changed_after_their_part_was_drawn_are_refused():
    part, model = part_of(1), GRCN(interactions(), features(), dim=4)
    assert 40 not in part.user_nodes
    with pytest.raises(ValueError, match="user_nodes must ascend and hold all that its pairs name"):
        model(part._replace(users=torch.tensor([0, 40])))
    with pytest.raises(ValueError, match="item_nodes must ascend"):
        model(part._replace(item_nodes=part.item_nodes.flip(0)))


def test_sparse_tables_that_a_whole_graph_reads_are_named():
    model = GRCN(interactions(), features(), dim=4, sparse=True)
    optimizer = LazyAdam(model)
    model(batch()).backward()
    with pytest.raises(RuntimeError, match="sparse=True got a dense gradient.*NeighborBatch"):
        optimizer.step()
