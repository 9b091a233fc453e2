"""LazyAdam trains the batch's rows of sparse embeddings, and all else as Adam does."""

import copy
import io

import pytest
import torch
from torch import nn

from sgfd import distill
from sgfd.backbones import MAML, VBPR, Batch, LazyAdam
from sgfd.data import PairSampler, synthetic_catalog

SPARSE = [VBPR, MAML]


@pytest.fixture(scope="module")
def data():
    return synthetic_catalog(
        num_users=30, num_items=40, num_classes=3, interactions_per_user=7, widths={"a": 6, "b": 4}
    )


def made(kind, data, *, sparse, distilled=True):
    model = kind(data.train, data.features, dim=5, sparse=sparse)
    return distill(model, data.features, data.labels) if distilled else model


def tables(model):
    """Names of the id tables."""
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    return [name for name, p in model.named_parameters() if id(p) in embeddings]


def steps(model, optimizer, batches, *, seed=4):
    torch.manual_seed(seed)
    for batch in batches:
        optimizer.zero_grad()
        model(batch).backward()
        optimizer.step()


def everyone(data):
    """A batch that reads every user and every item."""
    users = torch.arange(data.num_users).repeat(2)
    items = torch.arange(len(users)) % data.num_items
    return Batch(users, items, (items + 11)[:, None] % data.num_items)


@pytest.mark.parametrize("kind", SPARSE)
@pytest.mark.parametrize("distilled", [False, True])
def test_rows_of_every_batch_are_trained_as_by_adam(kind, distilled, data):
    dense, sparse = (made(kind, data, sparse=s, distilled=distilled) for s in (False, True))
    # Both add eps to other roots: the smaller it is, the less that is.
    steps(dense, torch.optim.Adam(dense.parameters(), lr=0.02, eps=1e-15), [everyone(data)] * 4)
    steps(sparse, LazyAdam(sparse, lr=0.02, eps=1e-15), [everyone(data)] * 4)
    assert all(dict(sparse.named_parameters())[name].grad.is_sparse for name in tables(sparse))
    assert len(tables(sparse)) == {VBPR: 5, MAML: 2}[kind]
    torch.testing.assert_close(sparse.state_dict(), dense.state_dict(), rtol=2e-3, atol=2e-4)


@pytest.mark.parametrize("kind", SPARSE)
def test_other_rows_stay_and_those_of_the_batch_follow_the_equation(kind, data):
    model = made(kind, data, sparse=True, distilled=False)
    lr, betas, eps = 0.03, (0.8, 0.95), 1e-3
    optimizer = LazyAdam(model, lr=lr, betas=betas, eps=eps)
    names = tables(model)
    parameters = dict(model.named_parameters())
    moments = {name: (torch.zeros_like(parameters[name]),) * 2 for name in names}
    for t, batch in enumerate(list(PairSampler(data.train, batch_size=6).epoch(0))[:5], start=1):
        optimizer.zero_grad()
        model(batch).backward()
        expected = {}
        for name in names:
            p, gradient = parameters[name].detach(), parameters[name].grad.to_dense()
            rows = (batch.users if "user" in name else model.items_of(batch)).unique()
            m, v = (x.clone() for x in moments[name])
            m[rows] = betas[0] * m[rows] + (1 - betas[0]) * gradient[rows]
            v[rows] = betas[1] * v[rows] + (1 - betas[1]) * gradient[rows] ** 2
            moments[name] = m, v
            rate = lr * (1 - betas[1] ** t) ** 0.5 / (1 - betas[0] ** t)
            expected[name] = p.clone()
            expected[name][rows] -= rate * m[rows] / (v[rows].sqrt() + eps)
        optimizer.step()
        torch.testing.assert_close({n: parameters[n].detach() for n in names}, expected)


def test_the_rest_is_trained_by_adam_with_its_weight_decay(data):
    dense, sparse = (made(VBPR, data, sparse=s) for s in (False, True))
    steps(dense, torch.optim.Adam(dense.parameters(), lr=0.02, weight_decay=0.3), [everyone(data)])
    optimizer = LazyAdam(sparse, lr=0.02, weight_decay=0.3)
    steps(sparse, optimizer, [everyone(data)])
    held = {n: p for n, p in dense.state_dict().items() if n.startswith(("teacher", "projections"))}
    found = {n: sparse.state_dict()[n] for n in held}
    torch.testing.assert_close(found, held)
    assert [g.get("weight_decay") for g in optimizer.param_groups] == [None, 0.3]


def test_frozen_parameters_are_left_out(data):
    model = made(VBPR, data, sparse=True)
    model.backbone.user_embedding.requires_grad_(False)
    model.teacher.requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    steps(model, LazyAdam(model, lr=0.1), [everyone(data)])
    same = [n for n, x in model.state_dict().items() if torch.equal(x, before[n])]
    assert {"backbone.user_embedding.weight", *(n for n in before if "teacher" in n)} <= {*same}
    assert not torch.equal(
        model.backbone.item_embedding.weight, before["backbone.item_embedding.weight"]
    )


@pytest.mark.parametrize("kind", SPARSE)
def test_a_saved_state_goes_on_to_the_bit(kind, data):
    batches = list(PairSampler(data.train, batch_size=32, seed=9).epoch(0))[:6]
    whole = made(kind, data, sparse=True)
    optimizer = LazyAdam(whole, lr=0.02)
    steps(whole, optimizer, batches[:3], seed=1)
    file = io.BytesIO()
    torch.save({"model": whole.state_dict(), "optimizer": optimizer.state_dict()}, file)
    steps(whole, optimizer, batches[3:], seed=2)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    again = made(kind, data, sparse=True)
    again.load_state_dict(saved["model"])
    other = LazyAdam(again, lr=0.5)
    other.load_state_dict(saved["optimizer"])
    steps(again, other, batches[3:], seed=2)
    torch.testing.assert_close(again.state_dict(), whole.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(other.state_dict(), optimizer.state_dict(), rtol=0, atol=0)


def test_schedulers_change_both_rates_and_copies_are_whole(data):
    model = made(VBPR, data, sparse=True)
    optimizer = LazyAdam(model, lr=0.4)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.0)
    steps(model, optimizer, [everyone(data)])
    scheduler.step()
    assert [g["lr"] for g in optimizer.param_groups] == [0.0, 0.0]
    before = copy.deepcopy(model.state_dict())
    steps(model, optimizer, [everyone(data)])
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    twin, copied = copy.deepcopy((model, optimizer))
    copied.param_groups[0]["lr"] = copied.param_groups[1]["lr"] = 0.1
    steps(twin, copied, [everyone(data)])
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any(torch.equal(x, before[n]) for n, x in twin.named_parameters() if x.ndim > 1)


def test_a_closure_gives_its_loss(data):
    model = made(VBPR, data, sparse=True)
    optimizer = LazyAdam(model)

    def closure():
        optimizer.zero_grad()
        loss = model(everyone(data))
        loss.backward()
        return loss

    assert optimizer.step(closure).requires_grad
    assert optimizer.step() is None


def test_wrong_arguments_are_named(data):
    model = made(VBPR, data, sparse=True)
    with pytest.raises(TypeError, match="must be an nn.Module, not its parameters"):
        LazyAdam(model.parameters())
    with pytest.raises(ValueError, match=r"none. Use torch.optim.Adam"):
        LazyAdam(made(VBPR, data, sparse=False))
    with pytest.raises(ValueError, match="lr must be above 0"):
        LazyAdam(model, lr=0)
    with pytest.raises(ValueError, match="takes no further parameters"):
        LazyAdam(model).add_param_group({"params": [nn.Parameter(torch.ones(2))]})
