"""MAML's own mathematics, beyond what every backbone promises."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from sgfd import distill, paper_student
from sgfd.backbones import (
    MAML,
    Batch,
    MetricAttention,
    _maml,
    clip_rows,
    covariance_penalty,
    rank_weighted_hinge,
    weighted_distance,
)

USERS, ITEMS = 9, 11
WEIGHTS = {"feature_weight": 0.7, "covariance_weight": 1.3, "reg_weight": 0.4}


def interactions():
    return csr_array((np.random.default_rng(0).random((USERS, ITEMS)) < 0.4).astype(float))


def features(*names):
    generator = torch.Generator().manual_seed(3)
    widths = {"image": 12, "text": 7, "audio": 5}
    return {m: torch.randn(ITEMS, widths[m], generator=generator) for m in names}


def batch():
    return Batch(
        torch.tensor([0, 1, 1, 8]),
        torch.tensor([4, 0, 5, 10]),
        torch.tensor([[1, 2], [3, 1], [5, 6], [7, 8]]),
    )


def build(*names, random=True, dtype=torch.float64, **options):
    """A model with no parameter at its start, some rows of its tables longer than 1."""
    options = {"dim": 6, "hidden_dim": 13, "dropout": 0.0, **options}
    model = MAML(interactions(), features(*(names or ("image", "text"))), **options).to(dtype)
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in model.parameters() if random else ():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator))
    return model


def unit(x):
    return x / x.norm()


def feature_of(model, item):
    """The equation of the docstring, for one item."""
    x = torch.cat(
        [layer(model.features[m](item).double()) for m, layer in model.projections.items()]
    )
    first, second, third, last = model.feature_layers
    x = unit(F.relu(second(unit(F.relu(first(unit(x)))))))
    f = last(F.relu(third(x)))
    return f / f.norm() if f.norm() > 1 else f


def attention_of(model, u, i, f):
    hidden, output = model.attention.hidden, model.attention.output
    logits = output(unit(torch.tanh(hidden(unit(torch.cat([u, i, f]))))))
    return len(u) * F.relu(logits).softmax(0)


def distance_of(model, u, i, f):
    a = attention_of(model, u, i, f)
    return ((a * u - a * i) ** 2).sum()


def inside(x):
    return x / x.norm() if x.norm() > 1 else x


def test_the_loss_equals_its_equations_written_out():
    model = build(margin=0.6, **WEIGHTS).eval()
    u, i = model.user_embedding.weight, model.item_embedding.weight
    f = torch.stack([feature_of(model, k) for k in torch.arange(ITEMS)])
    hinges = []
    for user, item, negatives in zip(*batch(), strict=True):
        near = distance_of(model, u[user], i[item], f[item])
        far = [distance_of(model, u[user], i[k], f[k]) for k in negatives]
        too_close = sum(bool(near - d + 0.6 > 0) for d in far)
        rank = ITEMS * too_close / len(far)
        hinges.append(math.log(1 + rank) * F.relu(near - min(far) + 0.6))
    expected = sum(hinges) / len(hinges)
    items = model.items_of(batch()).unique()
    expected = expected + 0.7 * ((i - f) ** 2)[items].sum(1).mean()
    covariance = torch.cov(torch.cat([u[[0, 1, 8]], i[items]]).T, correction=0)
    off_diagonal = covariance[~torch.eye(6, dtype=torch.bool)]
    expected = expected + 1.3 * (off_diagonal**2).sum()
    pairs = [
        attention_of(model, u[user], i[k], f[k]) - 1
        for user, item, negatives in zip(*batch(), strict=True)
        for k in (item, *negatives)
    ]
    expected = expected + 0.4 * torch.stack(pairs).square().mean()
    torch.testing.assert_close(model(batch()), expected)
    assert len({h.item() for h in hinges}) > 2


@pytest.mark.parametrize(("at_once", "calls"), [(1, 4), (200, 2), (2**21, 1)])
def test_the_loss_does_not_depend_on_how_many_pairs_are_computed_at_a_time(
    at_once, calls, monkeypatch
):
    whole, parts = (build(**WEIGHTS).eval() for _ in range(2))
    expected = whole(batch())
    expected.backward()
    monkeypatch.setattr(_maml, "AT_ONCE", at_once)
    seen = []
    weigh = parts.attention.weights
    monkeypatch.setattr(parts.attention, "weights", lambda *x: seen.append(1) or weigh(*x))
    loss = parts(batch())
    loss.backward()
    assert len(seen) == calls
    torch.testing.assert_close(loss, expected)
    for (name, p), q in zip(parts.named_parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(p.grad, q.grad, msg=name)


def test_parts_grow_with_the_items_whose_gradients_each_of_them_makes(monkeypatch):
    model = build()
    pairs = torch.zeros(900, 5, dtype=torch.int64)
    monkeypatch.setattr(_maml, "AT_ONCE", 100 * 5 * model.attention.hidden.out_features)
    assert model._pairs_at_once(pairs, 50) == 100
    assert model._pairs_at_once(pairs, 2400) == 120
    assert model._pairs_at_once(pairs.to("meta"), 50) == 900


@pytest.mark.parametrize("names", [("text",), ("image", "text"), ("audio", "image", "text")])
def test_scores_equal_the_metric_of_each_pair(names):
    model = build(*names)
    before = [p.clone() for p in model.parameters()]
    users = torch.tensor([8, 0, 3])
    expected = [
        [
            -distance_of(model, inside(u), inside(model.item_embedding.weight[k]), f).item()
            for k, f in enumerate(feature_of(model, k) for k in torch.arange(ITEMS))
        ]
        for u in model.user_embedding.weight[users]
    ]
    expected = torch.tensor(expected, dtype=torch.float64)
    torch.testing.assert_close(model.scores(users), expected)
    assert not model.scores(users).requires_grad
    assert all(torch.equal(p, old) for p, old in zip(model.parameters(), before, strict=True))


@pytest.mark.parametrize("max_pairs", [1, 4, ITEMS, 25, 1000])
def test_distances_do_not_depend_on_how_many_pairs_are_computed_at_a_time(max_pairs):
    attention = MetricAttention(6).double()
    u, i, f = (torch.randn(n, 6, dtype=torch.float64) for n in (USERS, ITEMS, ITEMS))
    got = attention.distances(u, i, f, max_pairs=max_pairs)
    weights = attention(u.unsqueeze(1), i, f)
    torch.testing.assert_close(got, weighted_distance(weights, u.unsqueeze(1), i))
    with pytest.raises(ValueError, match="max_pairs must be an integer of at least 1; got 0"):
        attention.distances(u, i, f, max_pairs=0)


def test_single_precision_scores_are_as_good_as_double():
    model = build(random=False, dropout=0.2)
    exact = model.scores(torch.arange(USERS))
    single = model.float().scores(torch.arange(USERS))
    torch.testing.assert_close(single, exact.float(), rtol=1e-5, atol=1e-6)


def test_attention_broadcasts_and_its_weights_sum_to_the_width():
    attention = MetricAttention(6)
    u, i, f = torch.randn(3, 1, 6), torch.randn(5, 6), torch.randn(5, 6)
    weights = attention(u, i, f)
    assert weights.shape == (3, 5, 6)
    torch.testing.assert_close(weights.sum(-1), torch.full((3, 5), 6.0))
    torch.testing.assert_close(attention(u[2, 0], i[4], f[4]), weights[2, 4])
    assert weights.std() > 0


def test_the_rank_weight_counts_negatives_and_the_closest_makes_the_hinge():
    near = torch.tensor([1.0, 1.0, 2.0], requires_grad=True)
    far = torch.tensor([[0.5, 1.4, 9.0], [1.5, 1.6, 8.0], [3.0, 5.0, 4.0]], requires_grad=True)
    losses = rank_weighted_hinge(near, far, margin=0.5, num_items=30)
    log21 = math.log(1 + 30 * 2 / 3)
    torch.testing.assert_close(losses, torch.tensor([log21, 0.0, 0.0]))
    losses.sum().backward()
    torch.testing.assert_close(near.grad, torch.tensor([log21, 0.0, 0.0]))
    expected = torch.zeros(3, 3)
    expected[0, 0] = -log21
    torch.testing.assert_close(far.grad, expected)


def test_covariance_penalty_is_that_of_the_dimensions_and_knows_no_sign():
    x = torch.randn(50, 4, dtype=torch.float64)
    covariance = np.cov(x.numpy().T, bias=True)
    np.fill_diagonal(covariance, 0)
    torch.testing.assert_close(covariance_penalty(x).item(), (covariance**2).sum())
    torch.testing.assert_close(
        covariance_penalty(x * torch.tensor([1, -1, 1, 1])), covariance_penalty(x)
    )
    alone = torch.cat([torch.eye(4), -torch.eye(4)])
    assert covariance_penalty(alone + 3) == 0


def test_clipping_keeps_directions_and_leaves_short_rows_to_the_bit():
    x = torch.randn(20, 5)
    x[:10] = 0.9 * F.normalize(x[:10])
    clipped = clip_rows(x)
    assert torch.equal(clipped[:10], x[:10])
    torch.testing.assert_close(clipped[10:].norm(dim=1), x[10:].norm(dim=1).clamp(max=1))
    torch.testing.assert_close(F.normalize(clipped), F.normalize(x))


def test_a_training_step_puts_all_rows_back_into_the_ball_and_evaluation_none():
    model = build()
    tables = model.user_embedding.weight, model.item_embedding.weight
    before = [table.detach().clone() for table in tables]
    assert all((table.norm(dim=1) > 1).any() for table in before)
    model.eval()(batch())
    assert all(torch.equal(table, old) for table, old in zip(tables, before, strict=True))
    scores = model.scores(torch.arange(USERS))
    model.train()(batch()).backward()
    for table, old in zip(tables, before, strict=True):
        torch.testing.assert_close(table.detach(), torch.stack([inside(row) for row in old]))
    torch.testing.assert_close(model.scores(torch.arange(USERS)), scores)
    # A row on the sphere has a gradient along its own direction, which a division would take out.
    u, grad = tables[0].detach()[1], tables[0].grad[1]
    assert u @ grad != 0


def test_losses_of_several_batches_can_be_added_before_one_step():
    model = build()
    once = model(batch()) + model(batch())
    once.backward()
    grads = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    (2 * model(batch())).backward()
    for p, grad in zip(model.parameters(), grads, strict=True):
        torch.testing.assert_close(p.grad, grad)


def test_items_start_at_their_features_read_from_disk_or_memory(tmp_path):
    x = features("image")["image"].numpy().astype(np.float16)
    np.save(tmp_path / "image.npy", x)
    mapped = MAML(interactions(), {"image": np.load(tmp_path / "image.npy", mmap_mode="r")}, dim=6)
    model = MAML(interactions(), {"image": torch.from_numpy(x)}, dim=6)
    start = model.item_embedding.weight
    assert torch.equal(mapped.item_embedding.weight, start)
    torch.testing.assert_close(model.item_features(torch.arange(ITEMS)), start)
    assert start.norm(dim=1).min() > 0
    assert start.std(dim=0).min() > 0
    assert start.is_leaf
    assert start.requires_grad


def test_every_parameter_is_trained_plain_and_distilled():
    x = features("image", "text")
    model = distill(build(), x, torch.arange(ITEMS) % 4)
    model(batch()).backward()
    for name, p in model.named_parameters():
        assert p.grad.abs().sum() > 0, name


@pytest.mark.parametrize("student", [None, paper_student])
def test_items_of_zeros_have_finite_losses_and_gradients(student):
    x = features("image", "text")
    for m in x:
        x[m][[4, 0]] = 0
    x["text"][1] = 0
    model = MAML(interactions(), x, dim=6)  # biases start at 0: nothing tells items 4 and 0 apart
    if student is not None:
        model = distill(model, x, torch.arange(ITEMS) % 4, student=student)
    loss = model(batch())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad.isfinite().all() for p in model.parameters())
    assert max(p.grad.abs().max() for p in model.parameters()) < 1e3
    assert model.scores(torch.arange(USERS)).isfinite().all()


def test_features_drop_only_while_training_and_never_in_scores():
    model = build(dropout=0.5)
    assert not torch.equal(model(batch()), model(batch()))
    scores = model.scores(torch.arange(USERS))
    assert torch.equal(model.scores(torch.arange(USERS)), scores)
    model.eval()
    assert torch.equal(model(batch()), model(batch()))
    assert torch.equal(model.scores(torch.arange(USERS)), scores)


@pytest.mark.parametrize("distilled", [False, True])
def test_training_brings_users_nearer_to_their_items_than_to_others(distilled):
    torch.manual_seed(0)
    x = features("image", "text")
    model = MAML(interactions(), x, dim=6, hidden_dim=13)
    if distilled:
        model = distill(model, x, torch.arange(ITEMS) % 4)
    liked = torch.from_numpy(interactions().toarray() > 0)
    users, items = liked.nonzero(as_tuple=True)
    others = torch.stack([(~liked[u]).nonzero().flatten()[:4] for u in users])

    def gap():
        scores = model.scores(torch.arange(USERS))
        return float(scores[liked].mean() - scores[~liked].mean())

    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses, before = [], gap()
    for _ in range(150):
        loss = model(Batch(users, items, others))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    assert gap() > before + 0.3


def test_the_documented_defaults_are_the_defaults():
    model = MAML(interactions(), features("image"))
    assert (model.margin, model.dropout, model.feature_layers[0].out_features) == (1.0, 0.2, 256)
    weights = (model.feature_weight, model.covariance_weight, model.reg_weight)
    assert weights == (5.0, 5.0, 100.0)
    assert model.user_embedding.embedding_dim == 64


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("dim", 0),
        ("hidden_dim", 0),
        ("margin", 0.0),
        ("dropout", 1.0),
        ("feature_weight", -1.0),
        ("covariance_weight", -1.0),
        ("reg_weight", -1.0),
    ],
)
def test_bad_options_are_named(option, value):
    with pytest.raises(ValueError, match=f"^{option} must be .*(at least|above) .*; got {value}"):
        MAML(interactions(), features("image"), **{option: value})


def test_maml_needs_negatives():
    users, items, negatives = batch()
    with pytest.raises(ValueError, match=r"n >= 1; got \(4, 0\)"):
        build()(Batch(users, items, negatives[:, :0]))
