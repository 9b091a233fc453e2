"""Paired comparison of two evaluations."""

import numpy as np
import pytest
from scipy import stats

from sgfd.evaluation import Comparison, Evaluation, compare


def run(values, users=None, metric="ndcg@20") -> Evaluation:
    values = np.asarray(values, dtype=float)
    users = np.arange(len(values)) if users is None else np.asarray(users)
    return Evaluation(users, {metric: values}, num_skipped=0)


def paired_values(seed: int = 0, num_users: int = 300, gain: float = 0.02):
    rng = np.random.default_rng(seed)
    first = rng.random(num_users)
    return first, first + rng.normal(gain, 0.1, size=num_users)


def test_means_change_and_p_values_are_those_of_scipy():
    first, second = paired_values()

    result = compare(run(first), run(second))

    assert result.metric == "ndcg@20"
    assert result.mean_a == pytest.approx(first.mean())
    assert result.mean_b == pytest.approx(second.mean())
    assert result.relative_change == pytest.approx(second.mean() / first.mean() - 1)
    assert result.t_pvalue == pytest.approx(stats.ttest_rel(first, second).pvalue)
    assert result.wilcoxon_pvalue == pytest.approx(stats.wilcoxon(first, second).pvalue)
    assert result.num_users == 300


def test_the_interval_agrees_with_the_delta_method_on_many_users():
    first, second = paired_values(num_users=3000)
    ratio = second.mean() / first.mean()
    error = np.std(second - ratio * first) / np.sqrt(3000) / first.mean()

    result = compare(run(first), run(second), confidence=0.9)

    quantile = stats.norm.ppf(0.95)
    assert result.low == pytest.approx(ratio - 1 - quantile * error, abs=0.05 * error)
    assert result.high == pytest.approx(ratio - 1 + quantile * error, abs=0.05 * error)


def test_more_confidence_means_a_wider_interval_around_the_change():
    first, second = paired_values()
    narrow, wide = (compare(run(first), run(second), confidence=c) for c in (0.5, 0.99))

    assert wide.low < narrow.low < narrow.relative_change < narrow.high < wide.high


def test_the_same_seed_gives_the_same_interval_and_another_seed_another():
    first, second = paired_values()

    def interval(seed: int) -> tuple[float, float]:
        result = compare(run(first), run(second), num_resamples=200, seed=seed)
        return result.low, result.high

    assert interval(3) == interval(3)
    assert interval(3) != interval(4)


def test_a_progress_bar_counts_the_resamples_and_changes_nothing(capfd):
    first, second = (run(values) for values in paired_values())
    silent = compare(first, second, num_resamples=20_000)
    assert capfd.readouterr().err == ""
    assert compare(first, second, num_resamples=20_000, progress=True) == silent
    assert "compare: 100%" in (shown := capfd.readouterr().err)
    assert "20000/20000" in shown


def test_users_are_paired_by_index_whatever_their_order():
    first, second = paired_values()
    order = np.random.default_rng(1).permutation(300)

    shuffled = compare(run(first), run(second[order], users=order))

    assert shuffled == compare(run(first), run(second))


def test_no_difference_gives_p_values_of_one_and_no_warning():
    first, _ = paired_values()

    result = compare(run(first), run(first))

    assert (result.t_pvalue, result.wilcoxon_pvalue) == (1.0, 1.0)
    assert (result.relative_change, result.low, result.high) == (0.0, 0.0, 0.0)


def test_a_constant_difference_is_certain_and_gives_no_warning():
    result = compare(run(np.full(40, 0.25)), run(np.full(40, 0.75)))

    assert result.t_pvalue == 0.0
    assert result.wilcoxon_pvalue < 1e-6
    assert (result.relative_change, result.low, result.high) == (2.0, 2.0, 2.0)


def test_a_baseline_without_any_hit_has_no_relative_change_but_p_values():
    rng = np.random.default_rng(0)

    result = compare(run(np.zeros(50)), run(rng.random(50)))

    assert np.isnan([result.relative_change, result.low, result.high]).all()
    assert result.t_pvalue < 1e-6
    assert result.wilcoxon_pvalue < 1e-6


def test_two_evaluations_without_any_hit_do_not_differ():
    result = compare(run(np.zeros(5)), run(np.zeros(5)))

    assert (result.mean_a, result.mean_b) == (0.0, 0.0)
    assert (result.t_pvalue, result.wilcoxon_pvalue) == (1.0, 1.0)
    assert np.isnan(result.relative_change)


def test_an_interval_is_undefined_where_a_resample_of_the_baseline_has_no_hit():
    first, second = np.zeros(30), np.zeros(30)
    first[0], second[:2] = 0.5, 0.25

    result = compare(run(first), run(second))

    assert result.relative_change == pytest.approx(0.0)
    assert np.isnan([result.low, result.high]).all()


def test_other_users_are_refused_with_an_example():
    with pytest.raises(ValueError, match=r"got 2 and 3, e\.g\. user 2 is in one only"):
        compare(run([0.1, 0.2]), run([0.1, 0.2, 0.3]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric": "ndcg@7"}, r"a has no metric 'ndcg@7'; it has \['ndcg@20'\]"),
        ({"confidence": 95}, "confidence must be above 0 and below 1; got 95"),
        ({"num_resamples": 0}, "num_resamples must be an integer of at least 1; got 0"),
    ],
)
def test_bad_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        compare(run([0.1, 0.2]), run([0.2, 0.2]), **options)


def test_one_user_is_not_enough():
    with pytest.raises(ValueError, match="at least 2 users; got 1"):
        compare(run([0.1]), run([0.2]))


def test_a_comparison_prints_as_one_line():
    result = Comparison("ndcg@20", 0.05, 0.055, 0.1, 0.02, 0.18, 0.0042, 0.013, 4512)
    assert str(result) == (
        "ndcg@20: 0.0500 -> 0.0550 (+10.0 %, interval +2.0 to +18.0 %), "
        "p = 0.0042 (paired t), 0.013 (Wilcoxon), 4512 users"
    )
