"""What every backbone promises, and VBPR's and BM3's own mathematics."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import nn

from sgfd import FeatureStudent, distill
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Batch

USERS, ITEMS = 17, 23
BACKBONES = [BM3, GRCN, MAML, VBPR]


def interactions():
    return csr_array((np.random.default_rng(0).random((USERS, ITEMS)) < 0.3).astype(float))


def features(*names):
    generator = torch.Generator().manual_seed(3)
    widths = {"image": 12, "text": 7, "audio": 5}
    return {m: torch.randn(ITEMS, widths[m], generator=generator) for m in names}


def batch(negatives=2):
    generator = torch.Generator().manual_seed(4)
    users = torch.randint(0, USERS, (8,), generator=generator)
    items = torch.randint(0, ITEMS, (8,), generator=generator)
    return Batch(users, items, torch.randint(0, ITEMS, (8, negatives), generator=generator))


@pytest.mark.parametrize("names", [("text",), ("image", "text"), ("audio", "image", "text")])
@pytest.mark.parametrize("kind", BACKBONES)
def test_any_number_of_modalities_plain_and_distilled(kind, names):
    model = kind(interactions(), features(*names), dim=6)
    keys = list(model.state_dict())
    own_scores = model.scores(torch.arange(USERS))
    torch.manual_seed(5)
    own = model(batch())
    wrapped = distill(model, features(*names), torch.arange(ITEMS) % 4)
    torch.manual_seed(5)
    loss, terms = wrapped.loss_and_terms(batch())
    torch.testing.assert_close(loss, own + terms.total)
    assert torch.equal(wrapped.scores(torch.arange(USERS)), own_scores)
    assert list(model.state_dict()) == keys
    loss.backward()
    for m in names:
        assert wrapped.student_paths[m] == f"projections.{m}"
        assert wrapped.student(m).weight.grad.abs().sum() > 0
    assert all(p.grad is not None for p in wrapped.teacher.parameters())


@pytest.mark.parametrize("kind", [BM3, MAML, VBPR])
def test_only_the_batchs_distinct_items_are_projected(kind):
    model = kind(interactions(), features("image"), dim=6)
    seen = []
    model.projections["image"].register_forward_hook(lambda _, args, __: seen.append(len(args[0])))
    model(batch())
    assert seen == [len(model.items_of(batch()).unique())]


@pytest.mark.parametrize("kind", BACKBONES)
def test_the_same_seed_gives_the_same_model_and_leaves_the_generator_alone(kind):
    state = torch.get_rng_state()
    a, b, c = (kind(interactions(), features("image"), dim=6, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a.state_dict()[k], v) for k, v in b.state_dict().items())
    name = "projections.image.weight"
    assert not torch.equal(a.state_dict()[name], c.state_dict()[name])


@pytest.mark.parametrize("kind", BACKBONES)
def test_gradients_have_the_same_bits_every_time_with_two_threads(kind):
    rng = np.random.default_rng(7)
    matrix = csr_array((rng.random((900, 400)) < 0.03).astype(float))
    x = {"image": torch.randn(400, 40, generator=torch.manual_seed(0))}
    users, items = (torch.from_numpy(rng.integers(0, n, 3000)) for n in (900, 400))
    pairs = Batch(users, items, torch.from_numpy(rng.integers(0, 400, (3000, 2))))
    model = distill(
        kind(matrix, x, dim=32, dropout=0.0) if kind in (BM3, MAML) else kind(matrix, x, dim=32),
        x,
        torch.arange(400) % 9,
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        first = None
        for _ in range(6):
            model.zero_grad()
            model(pairs).backward()
            gradients = [p.grad.clone() for p in model.parameters()]
            first = first or gradients
            assert all(map(torch.equal, first, gradients))
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_reloaded_checkpoint_scores_the_same(kind, tmp_path):
    model = kind(interactions(), features("image", "text"), dim=6, seed=1)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = kind(interactions(), features("image", "text"), dim=6, seed=2)
    other.load_state_dict(torch.load(tmp_path / "model.pt", weights_only=True))
    users = torch.arange(USERS)
    assert torch.equal(other.scores(users), model.scores(users))
    assert not any(k.startswith("features.") for k in model.state_dict())


@pytest.mark.parametrize("kind", BACKBONES)
def test_a_scorer_computes_what_users_share_once(kind):
    x = features("image", "text")
    model = distill(kind(interactions(), x, dim=6), x, torch.arange(ITEMS) % 4).eval()
    calls = []
    model.projections["image"].register_forward_hook(lambda *_: calls.append(1))
    scorer = model.scorer()
    shared = len(calls)
    for users in (torch.tensor([3, 0]), torch.arange(USERS)):
        scores = scorer(users)
        assert torch.equal(scores, model.scores(users))
        assert not scores.requires_grad
    assert shared == (0 if kind is BM3 else 1)
    assert len(calls) == 3 * shared  # two more by scores


@pytest.mark.parametrize("kind", BACKBONES)
def test_recommend_gives_the_best_unseen_items(kind):
    model, seen = kind(interactions(), features("image"), dim=6), interactions()
    users = torch.tensor([3, 0, 3])
    assert model.recommend([3, 0, 3], k=4, seen=2.5 * seen).items.equal(
        model.recommend(users, k=4, seen=seen).items
    )
    items, scores = model.recommend(users, k=4, seen=seen)
    expected = model.scores(users).numpy()
    expected[seen[users.numpy()].toarray() > 0] = -np.inf
    for row in range(3):
        best = np.argsort(-expected[row])[:4]
        assert items[row].tolist() == best.tolist()
        np.testing.assert_array_equal(scores[row], expected[row][best])
    assert not scores.requires_grad


def test_recommend_says_where_there_is_nothing_left():
    model = VBPR(interactions(), features("image"), dim=6)
    seen = np.ones((USERS, ITEMS))
    seen[0, 5] = 0
    items, scores = model.recommend(torch.tensor([0]), k=3, seen=csr_array(seen))
    assert items.tolist() == [[5, -1, -1]]
    assert scores[0, 1:].tolist() == [-torch.inf, -torch.inf]
    with pytest.raises(ValueError, match=r"k must be in 1\.\.23 .* got 24"):
        model.recommend(torch.tensor([0]), k=24)
    for bad in (torch.tensor([0, USERS]), torch.tensor([-1]), torch.tensor([[0]])):
        with pytest.raises(ValueError, match=r"users must be \(B,\) indices in 0\.\.16"):
            model.recommend(bad, k=3)
    with pytest.raises(ValueError, match=r"seen must be .* = \(17, 23\); got \(2, 2\)"):
        model.recommend(torch.tensor([0]), k=2, seen=csr_array(np.eye(2)))


@pytest.mark.parametrize("reg_weight", [0.0, 0.3])
def test_vbpr_equals_its_equations_written_out(reg_weight):
    x = features("image", "text")
    model = VBPR(interactions(), x, dim=6, reg_weight=reg_weight, feature_bias=True)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn_like(p))

    def score(u, i):
        total = model.item_bias.weight[i, 0]
        total = total + model.user_embedding.weight[u] @ model.item_embedding.weight[i]
        for m in x:
            layer = model.projections[m]
            f = layer.weight @ x[m][i] + layer.bias
            total = total + model.user_features[m].weight[u] @ f + model.feature_bias[m] @ x[m][i]
        return total

    users, items, negatives = batch(negatives=3)
    losses = [
        -F.logsigmoid(score(u, i) - score(u, j))
        for u, i, js in zip(users, items, negatives, strict=True)
        for j in js
    ]
    expected = torch.stack(losses).mean()
    factors = [model.user_embedding, *model.user_features.values()]
    norms = sum(t.weight[users].square().sum(1).mean() for t in factors)
    rows = model.items_of(batch(3))
    norms = norms + model.item_embedding.weight[rows].square().sum(1).mean()
    for m, projection in model.projections.items():
        norms = norms + projection(x[m])[rows].square().sum(1).mean()
    torch.testing.assert_close(model(batch(negatives=3)), expected + reg_weight * norms)
    torch.testing.assert_close(model.scores(torch.tensor([4]))[0, 9], score(4, 9))


def test_vbpr_without_feature_bias_has_no_such_parameter():
    model = VBPR(interactions(), features("image"), dim=6)
    assert not any("bias" in k and "feature" in k for k in model.state_dict())
    assert model(batch()).isfinite()


def test_vbpr_needs_negatives():
    model = VBPR(interactions(), features("image"), dim=6)
    with pytest.raises(ValueError, match=r"n >= 1; got \(8, 0\)\. Sample with num_negatives >= 1"):
        model(batch(negatives=0))


def test_vbpr_starts_without_biases():
    model = VBPR(interactions(), features("image"), dim=6, feature_bias=True)
    assert not model.item_bias.weight.any()
    assert not model.feature_bias["image"].any()


@pytest.mark.parametrize("kind", BACKBONES)
def test_batches_that_do_not_fit_are_named(kind):
    model = kind(interactions(), features("image"), dim=6)
    users, items, negatives = batch()
    for bad in (
        Batch(users[:4], items, negatives),
        Batch(users[:0], items[:0], negatives[:0]),
        Batch(users[:, None], items[:, None], negatives),
    ):
        with pytest.raises(ValueError, match=r"users and items of one shape \(B,\), B >= 1"):
            model(bad)


@pytest.mark.parametrize("modality", ["type", "a.b", ""])
@pytest.mark.parametrize("kind", BACKBONES)
def test_a_modality_is_named_like_a_module(kind, modality):
    with pytest.raises(ValueError, match="Rename it"):
        kind(interactions(), {modality: torch.ones(ITEMS, 3)})


@pytest.mark.parametrize("kind", BACKBONES)
def test_features_given_twice_are_held_once(kind):
    x = {"image": np.random.default_rng(0).random((ITEMS, 12), dtype=np.float32)}
    model = kind(interactions(), x, dim=6)
    wrapped = distill(model, x, torch.arange(ITEMS) % 4)
    assert wrapped._tables["image"] is model.features["image"]
    copied = distill(
        kind(interactions(), x, dim=6), {"image": x["image"].copy()}, torch.arange(ITEMS) % 4
    )
    assert copied._tables["image"] is not copied.features["image"]


def test_rows_that_begin_alike_in_memory_are_not_one_table():
    large = torch.randn(2 * ITEMS, 6)
    backbone = VBPR(interactions(), {"image": large[:ITEMS]}, dim=4)
    wrapped = distill(backbone, {"image": large[::2]}, torch.arange(ITEMS) % 3)
    assert torch.equal(wrapped._tables["image"].values, large[::2])
    assert torch.equal(backbone.features["image"].values, large[:ITEMS])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kind", BACKBONES)
def test_half_precision_trains_and_ranks(kind, dtype):
    x = features("image", "text")
    wrapped = distill(kind(interactions(), x, dim=6), x, torch.arange(ITEMS) % 4).eval()
    exact, exact_terms = wrapped.loss_and_terms(batch())
    with torch.autocast("cpu", dtype=dtype):
        loss, terms = wrapped.loss_and_terms(batch())
        scores = wrapped.scores(torch.arange(USERS))
    loss.backward()
    torch.testing.assert_close(loss.float(), exact, rtol=0.03, atol=0.03)
    torch.testing.assert_close(terms.response, exact_terms.response, rtol=0.3, atol=1e-3)
    assert scores.isfinite().all()
    half = wrapped.to(torch.bfloat16)
    assert half(batch()).isfinite()
    assert half.scores(torch.arange(USERS)).isfinite().all()


@pytest.mark.parametrize(("layers", "cl_weight", "reg_weight"), [(0, 0.7, 0.0), (2, 1.3, 0.4)])
def test_bm3_equals_its_equations_written_out(layers, cl_weight, reg_weight):
    x, matrix = features("image", "text"), interactions()
    options = {"num_layers": layers, "cl_weight": cl_weight, "reg_weight": reg_weight}
    model = BM3(matrix, x, dim=6, dropout=0.0, **options)
    r = torch.from_numpy(matrix.toarray()).float()
    r = r / (r.sum(1, keepdim=True) + 1e-7).sqrt() / (r.sum(0, keepdim=True) + 1e-7).sqrt()
    u, i = model.user_embedding.weight, model.item_embedding.weight
    all_u, all_i = [u], [i]
    for _ in range(layers):
        u, i = r @ i, r.T @ u
        all_u.append(u)
        all_i.append(i)
    u = torch.stack(all_u).mean(0)
    i = torch.stack(all_i).mean(0) + model.item_embedding.weight

    def pull(a, b):
        return 1 - (F.normalize(model.predictor(a)) * F.normalize(b.detach())).sum(1).mean()

    users, items, _ = batch()
    expected = pull(u[users], i[items]) + pull(i[items], u[users])
    for m in x:
        f = (x[m] @ model.projections[m].weight.T + model.projections[m].bias)[items]
        expected = expected + cl_weight * (pull(f, i[items]) + pull(f, f))
    expected = expected + reg_weight * (u.norm() + i.norm()) / ITEMS
    torch.testing.assert_close(model(batch()), expected)


def test_the_documented_defaults_are_the_defaults():
    model = BM3(interactions(), features("image"))
    assert (model.num_layers, model.dropout, model.reg_weight, model.cl_weight) == (
        1,
        0.3,
        0.1,
        2.0,
    )
    assert model.user_embedding.embedding_dim == 64


def test_bm3_drops_targets_only_while_training():
    model = BM3(interactions(), features("image"), dim=6, dropout=0.5)
    assert not torch.equal(model(batch()), model(batch()))
    model.eval()
    assert torch.equal(model(batch()), model(batch()))


def test_bm3_trains_raw_features_only_when_asked():
    frozen = BM3(interactions(), features("image"), dim=6)
    assert not any(k.startswith("features") for k in frozen.state_dict())
    trained = BM3(interactions(), features("image"), dim=6, train_features=True)
    trained(batch()).backward()
    moved = trained.features["image"].values.grad.abs().sum(1) > 0
    assert moved.nonzero().flatten().tolist() == trained.items_of(batch()).unique().tolist()


def test_features_with_gaps_in_their_memory_map_are_read_by_row(tmp_path):
    x = features("image")["image"].numpy().astype(np.float16)
    np.save(tmp_path / "image.npy", x)
    mapped = BM3(interactions(), {"image": np.load(tmp_path / "image.npy", mmap_mode="r")}, dim=6)
    in_memory = BM3(interactions(), {"image": torch.from_numpy(x)}, dim=6)
    mapped.eval(), in_memory.eval()
    assert torch.equal(mapped(batch()), in_memory(batch()))


@pytest.mark.parametrize("kind", BACKBONES)
def test_bad_options_are_named(kind):
    for options, text in (
        ({"dim": 0}, "dim must be an integer of at least 1; got 0"),
        ({"reg_weight": -1}, "reg_weight must be at least 0 and finite; got -1"),
    ):
        with pytest.raises(ValueError, match=text):
            kind(interactions(), features("image"), **options)
    with pytest.raises(ValueError, match="features must have at least one modality; got none"):
        kind(interactions(), {})
    with pytest.raises(ValueError, match=r"\['image'\] must have one row per item \(23\); got 3"):
        kind(interactions(), {"image": torch.ones(3, 2)})
    with pytest.raises(TypeError, match=r"\['image'\] must be a tensor or an array; got list"):
        kind(interactions(), {"image": [[1.0]]})


def test_students_replace_plain_projections_and_nothing_else():
    model = BM3(interactions(), features("image", "text"), dim=7)  # text is as wide as dim
    distill(model, features("image", "text"), torch.arange(ITEMS) % 4)
    assert type(model.predictor) is nn.Linear
    assert all(isinstance(p, FeatureStudent) for p in model.projections.values())
