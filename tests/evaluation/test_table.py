"""The table of several runs."""

import numpy as np
import pytest

from sgfd.evaluation import Evaluation, table


def run(num_users: int = 2, **means: float) -> Evaluation:
    per_user = {name.replace("_at_", "@"): np.full(num_users, v) for name, v in means.items()}
    return Evaluation(np.arange(num_users), per_user, num_skipped=0)


def test_two_runs_show_means_and_the_change_of_the_second():
    text = table(
        {
            "plain": run(recall_at_20=0.2, mrr_at_20=0.5),
            "distilled": run(recall_at_20=0.21, mrr_at_20=0.4),
        }
    )

    assert text.splitlines() == [
        "| metric    |  plain | distilled |  change |",
        "|:----------|-------:|----------:|--------:|",
        "| recall@20 | 0.2000 |    0.2100 |  +5.0 % |",
        "| mrr@20    | 0.5000 |    0.4000 | -20.0 % |",
        "| users     |      2 |         2 |         |",
    ]


def test_metrics_are_shown_in_the_order_asked_for():
    text = table({"plain": run(a=0.1, b=0.2, c=0.3)}, metrics=["c", "a"])

    assert [line.split("|")[1].strip() for line in text.splitlines()[2:]] == ["c", "a", "users"]


@pytest.mark.parametrize("num_runs", [1, 3])
def test_only_two_runs_have_a_change(num_runs):
    text = table({f"run {i}": run(a=0.1 + i) for i in range(num_runs)})

    assert "change" not in text
    assert text.splitlines()[0].count("|") == num_runs + 2


def test_runs_over_different_users_have_no_change():
    text = table({"office": run(2, a=0.1), "toys": run(3, a=0.2)})

    assert "change" not in text
    assert text.splitlines()[-1].split("|")[2:4] == ["      2 ", "      3 "]


def test_a_change_from_zero_is_a_dash():
    assert table({"plain": run(a=0.0), "other": run(a=0.1)}).splitlines()[2].endswith(" - |")


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="at least one evaluation"):
        table({})
    with pytest.raises(ValueError, match=r"run 'other' has no \['a'\]; it has \['b'\]"):
        table({"plain": run(a=0.1), "other": run(b=0.1)})
