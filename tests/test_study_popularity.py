"""Popularity added to runs of the study whose test part was read."""

import numpy as np
import pytest
import torch

pytest.importorskip("lightning")
pytest.importorskip("optuna")
pytest.importorskip("torch_geometric")
from benchmarks.study import added, confirm, effects, report, store, train
from test_study import PARAMS, RUN, choose, git, places, rows_of  # noqa: F401

from sgfd.evaluation import evaluate, with_popularity


def test_the_weight_is_chosen_by_validation_and_every_reading_is_exploratory(places, tmp_path):  # noqa: F811
    runs = [RUN._replace(arm="plain", seed=seed) for seed in (0, 1)] + [RUN, RUN._replace(seed=1)]
    choose(places, *runs[1:3])
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "results/tuned")
    git(tmp_path, "commit", "-qm", "chosen")
    for run in runs:
        train.run_once(run, PARAMS, places)
    assert list(added.add_popularity(runs, places)) == []  # before the test part was read
    assert added.added_table(effects.finished(runs, places, "test"), places) == ""
    list(confirm.read_test(runs[:3], places))

    shared = added.add_popularity(runs, places)
    rows = [next(shared)]
    rows += list(added.add_popularity(runs, places))  # another process
    assert list(shared) == []
    assert [(row["arm"], row["seed"]) for row in rows] == [("plain", 0), ("plain", 1), ("ours", 0)]
    assert list(added.add_popularity(runs, places)) == []
    reads = rows_of(places, "reads")
    assert [row["label"] for row in reads] == ["confirmatory", "exploratory", "exploratory"]
    assert [(row["what"], len(row["runs"])) for row in reads[1:]] == [
        ("popularity", 3),
        ("popularity", 2),
    ]
    # Going on with the first reading is still that.
    list(confirm.read_test(runs[:3], places))
    assert {row["reading"] for row in rows_of(places, "test")} == {"confirmatory"}

    for run, row in zip(runs, rows, strict=False):
        data, model = train.loaded(run, PARAMS, places)
        by_weight = dict(row["validation"])
        assert by_weight[row["weight"]] == max(by_weight.values()) > min(by_weight.values())
        both = with_popularity(train.scorer(model), data.train, weight=row["weight"])
        want = evaluate(both, data.test, seen=data.seen)
        assert row["popularity"]["ndcg@20"] == pytest.approx(want.means()["ndcg@20"])
        _, users = store.load_users(train.users_of(run, "popularity", places), "ndcg@20")
        np.testing.assert_allclose(users, want.per_user["ndcg@20"], atol=1e-3)

    shown = report.report(runs, places, "test")
    part = shown[shown.index("## With popularity added") :]
    weights = f"{rows[0]['weight']:g} {rows[1]['weight']:g}"
    assert f"| made-up vbpr plain | {weights} | " in part
    assert "| cell | plain | with popularity | ours against plain, both with | alone ag" in part
    without = np.mean([row["test"]["ndcg@20"] for row in rows_of(places, "test")[:2]])
    assert f"| made-up vbpr | {without:.4f} | " in part
    assert "With popularity" not in report.report(runs, places, "validation")


def test_other_parameters_than_the_runs_are_not_read(places):  # noqa: F811
    train.run_once(RUN, PARAMS, places)
    data, scores = confirm.scores_of(RUN, PARAMS, places)
    assert scores(torch.tensor([3, 1])).shape == (2, data.num_items)
    best = train.best_of(RUN, PARAMS, places)
    other = {name: -value for name, value in torch.load(best, weights_only=True).items()}
    torch.save(other, best)
    with pytest.raises(RuntimeError, match=r"made-up_vbpr_ours_0: best.pt is not the run of the"):
        confirm.scores_of(RUN, PARAMS, places)
