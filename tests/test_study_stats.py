"""The study's statistics and yardsticks, against computations of another kind."""

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats
from torch_geometric.nn import LightGCN

pytest.importorskip("optuna")

from benchmarks.study import baselines, effects
from benchmarks.study.first_weight import first_weight_table
from benchmarks.study.grid import Places
from benchmarks.study.stats import bootstrap, effect, holm
from benchmarks.study.store import add_row, read_rows

from sgfd.backbones import Batch
from sgfd.data import synthetic_catalog


def test_holm_by_hand():
    # 4 x .01, 3 x .02, then 2 x .022 = .044 is raised to the .06 before it; 1 x .5.
    adjusted = holm({"b": 0.02, "d": 0.5, "a": 0.01, "c": 0.022}, 4)
    assert adjusted == pytest.approx({"a": 0.04, "b": 0.06, "c": 0.06, "d": 0.5})


def test_holm_counts_declared_tests_that_were_not_made():
    assert holm({"a": 0.01, "b": 0.2}, 16) == pytest.approx({"a": 0.16, "b": 1.0})
    with pytest.raises(ValueError, match="2 tests were made, but 1 declared"):
        holm({"a": 0.1, "b": 0.2}, 1)


def test_a_constant_relative_gain_has_an_interval_of_no_width():
    a = np.random.default_rng(0).random((3, 40))
    result = effect(a, 1.1 * a, resamples=300)
    assert (result.change, result.low, result.high) == pytest.approx((0.1, 0.1, 0.1))
    assert (result.num_users, result.num_seeds) == (40, 3)
    assert result.t_pvalue < 1e-6


def test_each_seed_has_its_change_and_two_seeds_no_interval():
    a = np.array([[0.2, 0.4, 0.6], [0.1, 0.2, 0.3]])
    result = effect(a, a * [[1.5], [0.5]], resamples=20)
    assert result.by_seed == pytest.approx((0.5, -0.5))
    assert np.isnan([result.low, result.high]).all()


def test_arms_that_are_equal_have_p_1():
    a = np.random.default_rng(0).random((2, 30))
    result = effect(a, a.copy(), resamples=10)
    assert (result.change, result.t_pvalue, result.wilcoxon_pvalue) == (0, 1, 1)


def test_with_one_seed_the_bootstrap_is_that_of_scipy_over_users():
    rng = np.random.default_rng(1)
    a, b = rng.random((1, 60)), rng.random((1, 60)) + 0.1
    ours = np.quantile(bootstrap(a, b, resamples=20_000, seed=0), [0.025, 0.975])
    theirs = stats.bootstrap(
        (a[0], b[0]),
        lambda x, y, axis: y.mean(axis=axis) / x.mean(axis=axis) - 1,
        paired=True,
        method="percentile",
        n_resamples=20_000,
        random_state=np.random.default_rng(2),
    ).confidence_interval
    np.testing.assert_allclose(ours, theirs, atol=0.01)


def test_the_bootstrap_is_over_users_and_seeds_together():
    """Variances add: of additive effects of users and seeds on a baseline that is constant."""
    users, seeds = np.array([-3.0, -1, 0, 1, 3]), np.array([-2.0, 0, 2])
    a = np.full((3, 5), 100.0)
    changes = bootstrap(a, a + users + seeds[:, None], resamples=40_000, seed=0)
    expected = np.sqrt(users.var() / 5 + seeds.var() / 3) / 100
    assert changes.std() == pytest.approx(expected, rel=0.02)
    assert changes.mean() == pytest.approx(0, abs=3e-4)


def test_the_unit_of_the_tests_is_the_mean_over_seeds():
    rng = np.random.default_rng(3)
    a, b = rng.random((4, 25)), rng.random((4, 25)) + 0.05
    result = effect(a, b, resamples=10)
    assert result.t_pvalue == pytest.approx(stats.ttest_rel(b.mean(0), a.mean(0)).pvalue)
    assert result.wilcoxon_pvalue == pytest.approx(stats.wilcoxon(b.mean(0), a.mean(0)).pvalue)
    with pytest.raises(ValueError, match=r"both must be \(seeds, users\)"):
        effect(a, b[:3])


def test_ease_regresses_each_item_on_the_others():
    data = synthetic_catalog(num_users=40, num_items=12, num_classes=3, interactions_per_user=4)
    x = data.train.toarray().astype(float)
    scores = baselines.ease(data, "none", {"l2": 3.0}, 0)(torch.arange(40)).numpy()
    for item in range(12):
        others = np.delete(x, item, axis=1)
        gram = others.T @ others + 3.0 * np.eye(11)
        weights = np.linalg.solve(gram, others.T @ x[:, item])
        np.testing.assert_allclose(scores[:, item], others @ weights, atol=1e-10)


def test_lightgcn_propagates_as_torch_geometric_does_with_edges():
    data = synthetic_catalog(num_users=40, num_items=12, num_classes=3, interactions_per_user=4)
    model = baselines.light_gcn(data, "none", {"num_layers": 2, "reg_weight": 0.1}, 5)
    users, items = (torch.from_numpy(x).long() for x in data.train.nonzero())
    one_way = torch.stack([users, 40 + items])
    edges = torch.cat([one_way, one_way.flip(0)], dim=1)
    reference = LightGCN(52, 64, 2)
    reference.embedding = model.network.embedding
    nodes = reference.get_embedding(edges)
    torch.testing.assert_close(model.scores(torch.arange(40)), nodes[:40] @ nodes[40:].T)
    model(Batch(users[:9], items[:9], items[9:18, None])).backward()
    assert model.network.embedding.weight.grad.abs().sum() > 0


def test_bpr_mf_is_the_inner_product_and_its_loss_by_hand():
    data = synthetic_catalog(num_users=40, num_items=12, num_classes=3, interactions_per_user=4)
    model = baselines.bpr_mf(data, "none", {"reg_weight": 0.3}, 1)
    table = model.network.embedding.weight
    torch.testing.assert_close(model.scores(torch.tensor([4, 0])), table[[4, 0]] @ table[40:].T)
    u, i, j = table[[3, 5]], table[[41, 44]], table[[50, 40]]
    batch = Batch(torch.tensor([3, 5]), torch.tensor([1, 4]), torch.tensor([[10], [0]]))
    margins = ((i - j) * u).sum(1)
    squares = sum(part.square().sum() for part in (u, i, j))
    expected = -margins.sigmoid().log().mean() + 0.3 * squares / 2
    torch.testing.assert_close(model(batch), expected)


def test_rows_survive_what_is_written_after_them(tmp_path):
    path = tmp_path / "rows.jsonl"
    add_row(path, {"a": 1.25}, locks=tmp_path)
    with pytest.raises(ValueError, match="not JSON compliant"):
        add_row(path, {"a": float("nan")}, locks=tmp_path)
    add_row(path, {"a": 2}, locks=tmp_path)
    assert read_rows(path) == [{"a": 1.25}, {"a": 2}]


def test_a_family_is_adjusted_for_all_sixteen_cells():
    a = np.random.default_rng(0).random((2, 30))
    b = a + np.random.default_rng(1).normal(0.02, 0.05, (2, 30))
    found = effect(a, b, resamples=50)
    line = effects.family_table({("office", "vbpr"): found}).splitlines()[-1]
    assert f"{min(1, 16 * found.t_pvalue):.2g}" in line


def test_a_line_in_short_has_plain_and_each_change_and_a_mean_only_where_all_cells_are():
    plain = np.tile(np.linspace(0.3, 0.7, 9), (3, 1))
    up, down, level = (effect(plain, plain * f, resamples=50) for f in (1.1, 0.8, 0.9999))
    first, second = ("office", "vbpr"), ("office", "bm3")
    told = effects.in_short(
        {
            ("ours", "plain"): {first: up, second: level},
            ("ours", "alone"): {first: down},
        },
        again=[second],
    )
    assert told.splitlines() == [
        "| cell | plain | ours against plain | ours against alone |",
        "|---|---|---|---|",
        "| office vbpr | 0.5000 | +10.0 % (+10.0 to +10.0) | -20.0 % (-20.0 to -20.0) |",
        "| office bm3 (again) | 0.5000 | +0.0 % (+0.0 to +0.0) |  |",
        "| mean of 2 |  | +5.0 % |  |",
    ]


def test_a_teacher_that_acts_stands_beside_the_same_recommender_without_one(tmp_path):
    base, other = ({"learning_rate": rate, "reg_weight": 0.2} for rate in (0.01, 0.02))
    first = {"kd_weight": 0.01, "ce_weight": 0.1, "temperature": 10.0, "student": "paper"}
    tried = [
        ("plain", base, 0.5, 9),
        ("alone", base, 0.4, 7),
        ("alone", other, 0.3, 5),
        ("ours", base | first, 0.42, 3),
        ("ours", base | first | {"kd_weight": 0.1}, 0.9, 2),
        ("ours", base | first | {"student": "linear"}, 0.9, 2),  # its labels were not shuffled
        ("ours", other | first, 0.33, 4),
        ("labels-shuffled", base | first, 0.35, 6),
        ("labels-shuffled", other | first, None, None),  # diverged
    ]
    for arm, params, value, epoch in tried:
        row = {"data": "office", "backbone": "bm3", "arm": arm, "seed": 0, "params": params}
        row |= {"validation": {"ndcg@20": value or 0.0}}
        row |= {"diverged": "inf"} if value is None else {"best_epoch": epoch}
        add_row(tmp_path / "trials.jsonl", row, locks=tmp_path)
    places = Places(tmp_path, tmp_path, tmp_path)
    line = "| 0.4000 (epoch 8) | 0.4200 (epoch 4) | 0.3500 (epoch 7) | +5.0 % | +20.0 % |"
    told = first_weight_table([("toys", "bm3"), ("office", "bm3")], places).splitlines()
    assert told[2:] == [f"| office bm3 | paper {line}"]
    assert first_weight_table([("toys", "bm3")], places) == ""


@pytest.mark.parametrize(
    ("part", "title"),
    [
        ("test", "In short"),
        ("test", "The layer by itself"),
        ("test", "With popularity added"),
        ("validation", "A teacher at the first weight"),
    ],
)
def test_the_page_of_the_study_has_the_tables_of_its_report(part, title):
    root = Path(__file__).parents[1]
    written = (root / f"benchmarks/study/results/{part}.md").read_text()
    table = written.split(f"## {title}\n\n")[1].split("\n\n")[0]
    assert table in (root / "docs/study.md").read_text()
