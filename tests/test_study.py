"""The study's program: what it promises of runs, tuning and reading the test part."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from lightning import Callback

pytest.importorskip("optuna")

from benchmarks.study import confirm, effects, inputs, progress, report, space, store, train, tune
from benchmarks.study.arms import ARMS, OF_BM3, YARDSTICKS, arms_of
from benchmarks.study.grid import (
    BACKBONES,
    FAMILIES,
    GRID,
    Places,
    Run,
    batch_size,
    effort,
    patience,
    with_labels,
)

from sgfd import SGFDLoss, distill, paper_student
from sgfd.backbones import VBPR, Batch

RUN = Run("made-up", "vbpr", "ours", 0)
PARAMS = {"learning_rate": 0.02, "reg_weight": 0.03, "student": "linear"}
PARAMS |= {"ce_weight": 0.2, "kd_weight": 0.05, "temperature": 7.0}


@pytest.fixture
def places(tmp_path):
    return Places(tmp_path, tmp_path / "results", tmp_path / "scratch")


def rows_of(places, name="runs"):
    return store.read_rows(places.results / f"{name}.jsonl")


def choose(places, *runs, params=PARAMS):
    for run in runs:
        path = tune.tuned_file(run, places)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"params": params, "validation": 0.1, "trial": 0, "trials": 1}))


def choose_explorers(places):
    found = {"learning_rate": 0.01, "reg_weight": 0.03}
    choose(places, RUN._replace(arm="plain"), RUN._replace(arm="alone"), params=found)


class Epochs(Callback):
    """Which epochs are trained."""

    def __init__(self):
        self.begun = []

    def on_train_epoch_start(self, trainer, _):
        self.begun.append(trainer.current_epoch)


KILLED = """
import os, signal, sys
from pathlib import Path
from lightning import Callback
from benchmarks.study import train
from benchmarks.study.grid import Places, Run

class Kill(Callback):
    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGKILL)

fit = train.fit
train.fit = lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, Kill()], **k)
root = Path(sys.argv[1])
train.run_once(Run(*{run}), {params}, Places(root, root / "results", root / "scratch"))
"""


def test_a_killed_run_loses_nothing_and_repeats_nothing(places, tmp_path, monkeypatch):
    code = KILLED.format(run=tuple(RUN), params=PARAMS)
    root = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", code, tmp_path], cwd=root)
    assert killed.returncode == -signal.SIGKILL
    assert rows_of(places) == []

    seen, fit = Epochs(), train.fit
    monkeypatch.setattr(
        train, "fit", lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, seen], **k)
    )
    resumed = train.run_once(RUN, PARAMS, places)
    assert seen.begun == [1, 2]

    elsewhere = Places(tmp_path, tmp_path / "other", tmp_path / "other_scratch")
    whole = train.run_once(RUN, PARAMS, elsewhere)
    for name in ("validation", "curve", "best_epoch", "terms"):
        assert resumed[name] == whole[name]
    assert resumed["seconds"] > 0
    one, other = (
        store.load_users(train.users_of(RUN, "validation", p), "ndcg@20")
        for p in (places, elsewhere)
    )
    np.testing.assert_array_equal(one, other)

    assert train.run_once(RUN, PARAMS, places) is None  # done
    assert len(rows_of(places)) == 1


def test_the_chosen_trial_is_the_run_of_its_seed(places, monkeypatch):
    choose_explorers(places)
    trials = list(tune.tune(RUN, places, trials=3))
    best = max(trials, key=lambda row: row["validation"]["ndcg@20"])
    kept = [p.name for p in (places.scratch / "runs" / RUN.name).iterdir()]
    assert kept == [train.folder_of(RUN, best["params"], places).name]

    seen, fit = Epochs(), train.fit
    monkeypatch.setattr(
        train, "fit", lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, seen], **k)
    )
    row = train.run_once(RUN, tune.tuned(RUN, places), places)
    assert seen.begun == []
    for name in ("validation", "curve", "best_epoch", "terms"):
        assert row[name] == best[name]
    assert row["cpu_seconds"] >= 0.5 * best["cpu_seconds"] > 0  # of its training


def test_a_run_whose_parameters_are_on_another_machine_is_trained_again(places, monkeypatch):
    first = train.run_once(RUN, PARAMS, places)
    assert train.run_once(RUN, PARAMS, places) is None
    best = train.best_of(RUN, PARAMS, places)
    before = torch.load(best, weights_only=True)
    best.unlink()
    assert not train.is_done(RUN, PARAMS, places)
    # As if it was killed while at it: the best so far is there, but the run is not over.
    best.write_bytes(b"")
    (best.parent / "last.ckpt").write_bytes(b"")
    assert not train.is_done(RUN, PARAMS, places)
    best.unlink(), (best.parent / "last.ckpt").unlink()

    seen, fit = Epochs(), train.fit
    monkeypatch.setattr(train, "fit", lambda *a, **k: fit(*a, **k, callbacks=[seen]))
    assert train.run_once(RUN, PARAMS, places) == first
    assert seen.begun == list(range(first["best_epoch"] + 1))
    assert rows_of(places) == [first]
    again = torch.load(best, weights_only=True)
    assert before.keys() == again.keys()
    for name, value in before.items():
        torch.testing.assert_close(again[name], value, rtol=0, atol=0)
    assert sorted(path.name for path in best.parent.iterdir()) == ["best.pt", "history.csv"]


@pytest.mark.parametrize(("epochs", "by"), [(0, 2e-4), (-1, 0.0)])
def test_a_run_that_ranks_otherwise_on_this_machine_gets_another_row(places, epochs, by):
    first = train.run_once(RUN, PARAMS, places)
    assert first["best_epoch"] >= 1
    ndcg = first["validation"]["ndcg@20"] + by
    there = first | {"validation": {"ndcg@20": ndcg}, "best_epoch": first["best_epoch"] + epochs}
    (places.results / "runs.jsonl").write_text(json.dumps(there) + "\n")
    train.best_of(RUN, PARAMS, places).unlink()
    row = train.run_once(RUN, PARAMS, places)
    for name in ("validation", "curve", "best_epoch"):
        assert row[name] == first[name]
    assert rows_of(places) == [there, row]
    assert train.is_done(RUN, PARAMS, places)


def test_validation_by_some_users_leaves_them_all_their_pairs(places, monkeypatch):
    data = train.catalog(RUN, places.root)
    monkeypatch.setattr(train, "effort", lambda *_: effort(*RUN[:2])._replace(valid_users=20))
    some = train.for_validation(data, RUN)
    kept = np.flatnonzero(np.diff(some.valid.indptr))
    assert len(kept) == 20
    assert (some.valid[kept] != data.valid[kept]).nnz == 0
    assert (some.train != data.train).nnz == 0
    other = RUN._replace(seed=1)  # the same users: means over seeds are compared
    again = train.for_validation(train.catalog(other, places.root), other)
    np.testing.assert_array_equal(np.flatnonzero(np.diff(again.valid.indptr)), kept)


def test_a_run_that_another_process_is_at_is_passed_over(places):
    with store.locked(store.lock_of(RUN, places)) as mine:
        assert mine
        assert train.run_once(RUN, PARAMS, places) is None
    assert rows_of(places) == []


def test_a_row_says_what_was_run_where_and_at_what_cost(places):
    row = train.run_once(RUN, PARAMS, places)
    assert row == rows_of(places)[0]
    assert Run(*(row[f] for f in Run._fields)) == RUN
    assert row["params"] == PARAMS
    assert torch.__version__.startswith(row["versions"]["torch"])  # or with +cu132
    assert row["validation"]["ndcg@20"] == pytest.approx(max(row["curve"]), abs=1e-6)
    assert row["peak_mb"] > 50
    assert len(row["terms_by_epoch"]["feature"]) == len(row["curve"])
    best = row["terms_by_epoch"]["feature"][row["best_epoch"]]
    assert best == pytest.approx(row["terms"]["feature"], abs=1e-4)
    assert len(row["program"]) == 12
    users, values = store.load_users(train.users_of(RUN, "validation", places), "ndcg@20")
    assert len(users) == len(values)
    assert values.mean() == pytest.approx(row["validation"]["ndcg@20"], abs=1e-4)


def batches_of(arm, places, monkeypatch):
    """The batches that an arm's first epochs train on."""
    batches, forward = [], VBPR.forward

    def recording(self, batch: Batch):
        batches.append(batch)
        return forward(self, batch)

    with monkeypatch.context() as patched:
        patched.setattr(VBPR, "forward", recording)
        train.train(RUN._replace(arm=arm), PARAMS, places, trial=0)
    return batches


def test_arms_of_a_seed_share_split_initial_parameters_and_batch_order(places, monkeypatch):
    arms = ["plain", "alone", "release", "ours", "labels-shuffled", "kd-0", "plain-unit"]
    data = {arm: train.catalog(RUN._replace(arm=arm), places.root) for arm in arms}
    models = {a: ARMS[a].build(data[a], "vbpr", PARAMS, 0) for a in arms}
    batches = {arm: batches_of(arm, places, monkeypatch) for arm in arms}
    for arm in arms[1:]:
        for part in ("train", "valid", "test"):
            assert (getattr(data[arm], part) != getattr(data["plain"], part)).nnz == 0
        own = getattr(models[arm], "backbone", models[arm]).state_dict()
        for name, value in models["plain"].named_parameters():
            assert torch.equal(own[name], value), (arm, name)
        # As many epochs as both have: patience may end one before the other.
        both = list(zip(batches["plain"], batches[arm], strict=False))
        assert len(both) >= 3
        for one, other in both:
            assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    other = train.catalog(RUN._replace(seed=1), places.root)
    assert (other.train != data["plain"].train).nnz > 0
    assert (other.test != data["plain"].test).nnz == 0


def test_the_student_alone_is_distillation_without_weights(places):
    data = train.catalog(RUN, places.root)
    alone = ARMS["alone"].build(data, "vbpr", PARAMS, 0)
    distilled = distill(
        ARMS["plain"].build(data, "vbpr", PARAMS, 0),
        data.features,
        data.labels,
        student=paper_student,
        loss=SGFDLoss(ce_weight=0, kd_weight=0),
    )
    users = torch.arange(data.num_users)
    assert torch.equal(alone.scores(users), distilled.scores(users))


def test_either_half_of_the_papers_student_is_a_layer_of_its_own(places):
    data = train.catalog(RUN, places.root)
    rows = torch.from_numpy(data.features["text"]).double()
    for arm, bent, unit in (("unit-rows", False, True), ("leaky-relu", True, False)):
        assert ARMS[arm].tuned_as == "alone"
        layer = ARMS[arm].build(data, "vbpr", PARAMS, 0).projections["text"].double()
        want = torch.nn.functional.linear(rows, layer.weight, layer.bias)
        want = torch.where(want > 0, want, want * 0.01) if bent else want
        want = want / want.norm(dim=1, keepdim=True) if unit else want
        torch.testing.assert_close(layer(rows), want)


def test_every_ablation_switches_its_own_thing(places):
    data = train.catalog(RUN, places.root)
    built = {a: ARMS[a].build(data, "vbpr", PARAMS, 0) for a in ARMS if ARMS[a].space is space.ours}
    weights = {a: (m.sgfd_loss.ce_weight, m.sgfd_loss.kd_weight) for a, m in built.items()}
    odd = {"ce-0": (0, 0.05), "kd-0": (0.2, 0)}
    assert weights == {arm: odd.get(arm, (0.2, 0.05)) for arm in built}
    assert [a for a, m in built.items() if m.teacher.inner_activation is None] == ["inner-off"]
    assert [a for a, m in built.items() if m.teacher.fusion_transfer is None] == ["fusion-off"]
    assert [a for a, m in built.items() if not m.sgfd_loss.detach_teacher] == ["teacher-gradient"]
    kl = built["ours"].sgfd_loss.response
    other = [a for a, m in built.items() if m.sgfd_loss.response is not kl]
    assert other == ["ours-both", "l1"]
    levels = built["ours-both"]._labels.T
    np.testing.assert_array_equal(levels[0], data.labels)
    np.testing.assert_array_equal(levels[1], inputs.behavior_labels(data, 0).labels)


def test_as_it_comes_is_ours_at_the_first_settings(places):
    data = train.catalog(RUN, places.root)
    batch = Batch(*(torch.tensor(x) for x in ([3, 1], [5, 2], [[7], [8]])))
    for kd_weight in (0.01, 0.001):
        arm = ARMS[f"distill-{kd_weight}".replace("0.", ".")]
        assert arm.tuned_as == "plain"
        same = {"kd_weight": kd_weight, "ce_weight": 0.1, "temperature": 10.0, "student": "linear"}
        losses = [
            built.build(data, "vbpr", PARAMS | same, 0)(batch) for built in (arm, ARMS["ours"])
        ]
        torch.testing.assert_close(*losses, rtol=1e-6, atol=0)


def test_bm3_listens_to_features_a_tenth_by_an_arm_of_its_own(places):
    data = train.catalog(RUN, places.root)
    batch = Batch(*(torch.tensor(x) for x in ([3, 1], [5, 2], [[7], [8]])))
    assert not set(OF_BM3) & set(arms_of("vbpr"))
    for arm, same in (("plain-cl-.2", "plain"), ("alone-cl-.2", "alone")):
        assert arms_of("bm3")[arm].tuned_as == same
        less, whole = (arms_of("bm3")[a].build(data, "bm3", PARAMS, 0).eval() for a in (arm, same))
        assert less(batch) < whole(batch)
        whole.cl_weight = 0.2
        assert less(batch) == whole(batch)


def test_a_teacher_that_acts_is_ours_on_the_student_alone_at_the_first_weight(places):
    data = train.catalog(RUN, places.root)
    batch = Batch(*(torch.tensor(x) for x in ([3, 1], [5, 2], [[7], [8]])))
    first = {"kd_weight": 0.01, "ce_weight": 0.1, "temperature": 10.0, "student": "paper"}
    for arm, same in (("taught", "ours"), ("taught-shuffled", "labels-shuffled")):
        assert ARMS[arm].tuned_as == "alone"
        assert ARMS[arm].change is ARMS[same].change
        losses = [
            ARMS[name].build(ARMS[name].change(data, 0), "vbpr", params, 0)(batch)
            for name, params in ((arm, PARAMS), (same, PARAMS | first))
        ]
        torch.testing.assert_close(*losses, rtol=1e-6, atol=0)


def test_shuffled_labels_are_a_permutation_of_the_known_ones(places):
    data = train.catalog(RUN, places.root)
    labels = data.labels.copy()
    labels[::5] = -1
    shuffled = inputs.labels_shuffled(with_labels(data, labels), 0).labels
    assert (shuffled != labels).any()
    np.testing.assert_array_equal(shuffled == -1, labels == -1)
    np.testing.assert_array_equal(np.sort(shuffled), np.sort(labels))
    again = inputs.labels_shuffled(with_labels(data, labels), 0).labels
    np.testing.assert_array_equal(shuffled, again)


def test_shuffled_features_keep_the_modalities_of_a_row_together(places):
    data = train.catalog(RUN, places.root)
    shuffled = inputs.features_shuffled(data, 0).features
    joined = [np.concatenate(list(f.values()), axis=1) for f in (data.features, shuffled)]
    assert (joined[0] != joined[1]).any()
    np.testing.assert_array_equal(*(np.unique(x, axis=0) for x in joined))


def test_the_label_as_a_modality_is_one_hot_and_missing_where_unknown(places):
    data = train.catalog(RUN, places.root)
    labels = data.labels.copy()
    labels[3] = -1
    added = inputs.label_as_modality(with_labels(data, labels), 0)
    assert list(added.features) == [*data.features, "label"]
    assert np.isnan(added.features["label"][3]).all()
    known = labels >= 0
    np.testing.assert_array_equal(added.features["label"][known].argmax(axis=1), labels[known])
    assert (added.features["label"][known].sum(axis=1) == 1).all()
    other = inputs.shuffled_label_as_modality(with_labels(data, labels), 0).features["label"]
    assert not np.array_equal(other[known], added.features["label"][known])
    np.testing.assert_array_equal(np.nansum(other, 0), np.nansum(added.features["label"], 0))
    assert np.isnan(other[3]).all()


def test_labels_from_behavior_come_from_the_training_part_alone(places):
    data = train.catalog(RUN, places.root)
    made = inputs.behavior_labels(data, 0)
    blind = type(data)(
        data.train, 0 * data.valid, 0 * data.test, {"x": np.ones((data.num_items, 1), "f4")}
    )
    np.testing.assert_array_equal(made.labels, inputs.behavior_labels(blind, 0).labels)
    assert made.num_classes == made.labels.max() + 1 > 2


def test_standardized_and_unit_rows(places):
    data = train.catalog(RUN, places.root)
    for x in inputs.standardized(data, 0).features.values():
        np.testing.assert_allclose([x.mean(axis=0), x.std(axis=0) - 1], 0, atol=1e-5)
    for x in inputs.unit_rows(data, 0).features.values():
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-5)


def test_tuning_that_is_interrupted_chooses_what_it_would_have_chosen(places, tmp_path):
    elsewhere = Places(tmp_path, tmp_path / "other", tmp_path / "other_scratch")
    choose_explorers(places)
    choose_explorers(elsewhere)
    whole = list(tune.tune(RUN, elsewhere, trials=6))
    first = tune.tune(RUN, places, trials=6)
    next(first), next(first)
    first.close()  # and its lock is free
    assert tune.tuned(RUN, places) is None
    rest = list(tune.tune(RUN, places, trials=6))
    assert [row["trial"] for row in rest] == [2, 3, 4, 5]
    assert [r["params"] for r in rows_of(places, "trials")] == [r["params"] for r in whole]
    best = max(whole, key=lambda row: row["validation"]["ndcg@20"])
    assert tune.tuned(RUN, places) == tune.tuned(RUN, elsewhere) == best["params"]
    assert list(tune.tune(RUN, places, trials=6)) == []
    kept = list((places.scratch / "runs").glob("*/*"))  # of the chosen trial alone
    assert kept == [train.folder_of(RUN, best["params"], places)]


def test_explorers_try_the_same_first_points_and_others_start_from_their_choices(places):
    for backbone in ("vbpr", "bm3", "grcn", "maml"):
        run = Run("made-up", backbone, "plain", 0)
        points = [tune.points_of(run._replace(arm=arm), places, 12) for arm in ("plain", "alone")]
        assert points[0] == points[1]
        first = {
            "learning_rate": space.RATE.start,
            "reg_weight": space.REGULARIZATION[backbone].start,
        }
        assert tune.next_params(run, [], points[0]) == pytest.approx(first)
    with pytest.raises(ValueError, match="starts from the choices of .*plain.*alone.*first"):
        tune.points_of(RUN, places, 12)

    chosen = {"plain": (0.004, 0.03), "alone": (0.008, 0.01)}
    for arm, (rate, regularization) in chosen.items():
        found = {"learning_rate": rate, "reg_weight": regularization}
        choose(places, RUN._replace(arm=arm), params=found)
    names = ("learning_rate", "reg_weight", "student", "kd_weight")
    plain, alone = (*chosen["plain"], "linear"), (*chosen["alone"], "paper")
    for arm in ("ours", "labels-shuffled", "ours-behavior", "ours-both"):
        points = tune.points_of(RUN._replace(arm=arm), places, 12)
        told = [tuple(point[n] for n in names) for point in points]
        # Both are as good on validation here; then plain is taken for the better one.
        assert told == [(*plain, 0.01), (*alone, 0.01), (*plain, 0.001), (*plain, 0.1)]
        for point in points:
            assert tune.next_params(RUN._replace(arm=arm), [], [point]) == pytest.approx(point)
    label = [
        (p["learning_rate"], p["reg_weight"])
        for p in tune.points_of(RUN._replace(arm="plain-label"), places, 12)
    ]
    assert label == [(0.004, 0.03), (0.004, 0.06), (0.004, 0.015)]
    released = RUN._replace(arm="release")

    def told_release():
        points = tune.points_of(released, places, 4)
        assert all(p["ce_weight"] == 10 * p["kd_weight"] for p in points)
        return [(p["learning_rate"], p["kd_weight"]) for p in points]

    assert told_release() == [(0.004, 0.01), (0.008, 0.01), (0.004, 0.1), (0.004, 1.0)]
    path = tune.tuned_file(RUN._replace(arm="alone"), places)
    path.write_text(path.read_text().replace('"validation": 0.1', '"validation": 0.2'))
    assert told_release() == [(0.008, 0.01), (0.004, 0.01), (0.008, 0.1), (0.008, 1.0)]
    assert len(tune.points_of(released, places, 3)) == 3
    # Where the explorers chose alike there is one point less, and the sampler has that trial.
    choose_explorers(places)
    assert told_release() == [(0.01, 0.01), (0.01, 0.1), (0.01, 1.0)]


def add_trials(places, run, scores):
    """Rows as if trained, of {learning rate: validation NDCG@20}."""
    for rate, score in scores.items():
        row = run._asdict() | {
            "params": {"learning_rate": rate, "reg_weight": 0.03},
            "trial": len(tune.tried(run, places)),
            "validation": {"ndcg@20": score},
            "cpu_seconds": 1.0,
        }
        store.add_row(places.results / "trials.jsonl", row, locks=places.scratch / "locks")


def test_explorers_try_each_others_best_before_they_choose(places, monkeypatch):
    def train_instead(run, params, places, *, trial):
        add_trials(places, run, {params["learning_rate"]: 0.35})
        return tune.tried(run, places)[-1]

    monkeypatch.setattr(tune, "train", train_instead)
    monkeypatch.setattr(tune, "first_points", lambda *_: [])
    plain, alone = RUN._replace(arm="plain"), RUN._replace(arm="alone")
    add_trials(places, plain, {0.001: 0.1, 0.002: 0.3, 0.003: 0.2})
    add_trials(places, alone, {0.004: 0.2, 0.002: 0.1})
    assert list(tune.tune(plain, places, trials=3)) == []
    assert tune.choice_of(plain, places) is None  # the other is at its trials

    add_trials(places, alone, {0.005: 0.4, 0.006: 0.9})  # the fourth would be an exchange
    (row,) = tune.tune(plain, places, trials=3)
    assert (row["trial"], row["params"]["learning_rate"]) == (3, 0.005)
    assert tune.choice_of(plain, places) == ({"learning_rate": 0.005, "reg_weight": 0.03}, 0.35)
    assert list(tune.tune(alone, places, trials=3)) == []  # it had the other's, .002, before
    assert tune.choice_of(alone, places).params["learning_rate"] == 0.006
    assert list(tune.tune(plain, places, trials=3)) == []


def test_points_that_another_start_left_untried_are_tried_and_repeats_do_not_count(places):
    choose_explorers(places)
    release = RUN._replace(arm="release")
    points = tune.points_of(release, places, 4)
    assert len(points) == 3

    def rows(params):
        for number, one in enumerate(params):
            row = {"params": one, "trial": number, "validation": {"ndcg@20": 0.1 + 0.1 * number}}
            row = release._asdict() | row
            store.add_row(places.results / "trials.jsonl", row, locks=places.scratch / "locks")

    rows([points[0], points[2], points[0], points[2] | {"kd_weight": 0.5}])
    assert tune.next_trial(release, places, 3) == pytest.approx(points[1])
    rows([points[1]])
    assert tune.next_trial(release, places, 3) is None
    assert tune.next_trial(release, places, 4) is None
    assert tune.next_trial(release, places, 5) is not None  # four were different


def test_an_ablation_takes_the_configuration_of_what_it_ablates(places):
    choose(places, RUN)
    assert tune.tuned(RUN._replace(arm="kd-0"), places) == PARAMS
    assert tune.tuned(RUN._replace(arm="labels-shuffled"), places) is None
    with pytest.raises(ValueError, match="'kd-0' takes the configuration of 'ours': tune that"):
        next(tune.tune(RUN._replace(arm="kd-0"), places))


def test_status_counts_what_is_done_running_and_left(places, monkeypatch):
    runs = list(progress.grid(["made-up"], ["vbpr"], ["plain", "ours"]))
    assert [(r.seed, r.arm) for r in runs] == [(s, a) for s in (0, 1) for a in ("plain", "ours")]
    plain, ours = progress.count(runs, places)
    assert (ours.trials_left, ours.left, ours.hours_left) == (12, 2, None)
    assert not ours.tuning
    choose_explorers(places)
    trials = tune.tune(RUN, places, trials=2)
    next(trials)  # another process would be at it now
    assert [c.tuning for c in progress.count(runs, places)] == [False, True]
    trials.close()
    (places.results / "trials.jsonl").unlink()

    choose(places, RUN)
    row = train.run_once(RUN, PARAMS, places)
    with store.locked(store.lock_of(RUN._replace(seed=1), places)):
        plain, ours = progress.count(runs, places, trials=1)
    assert (plain.done, plain.running, plain.left) == (0, 0, 2)
    assert (ours.done, ours.running, ours.left, ours.trials, ours.trials_left) == (1, 1, 0, 0, 1)
    # What is not measured of an arm is taken from the others of its backbone.
    assert ours.hours_left == pytest.approx(2 * row["cpu_seconds"] / 3600)
    assert plain.hours_left == pytest.approx(3 * row["cpu_seconds"] / 3600)
    shown = progress.show([plain, ours]).splitlines()
    assert "1 runs done, 1 running, 2 left; 2 trials left" in shown[-1]

    # An explorer that has its trials has the other's best to try, once that is known.
    monkeypatch.setattr(tune, "first_points", lambda *_: [])
    explorers = list(progress.grid(["made-up"], ["vbpr"], ["plain", "alone"], [0]))
    add_trials(places, explorers[0], {0.001: 0.1})
    assert [c.trials_left for c in progress.count(explorers, places, trials=1)] == [0, 1]
    add_trials(places, explorers[1], {0.002: 0.3})
    assert [c.trials_left for c in progress.count(explorers, places, trials=1)] == [1, 1]
    add_trials(places, explorers[0], {0.002: 0.3})
    assert [c.trials_left for c in progress.count(explorers, places, trials=1)] == [0, 1]

    # On another machine, without its parameters, it is left, until the test part was read.
    train.best_of(RUN, PARAMS, places).unlink()
    assert progress.count(runs, places)[1].done == 0
    read = RUN._asdict() | {"params": PARAMS}
    store.add_row(places.results / "test.jsonl", read, locks=places.scratch / "locks")
    ours = progress.count(runs, places)[1]
    assert (ours.done, ours.left, ours.test_read) == (1, 1, 1)

    choose(places, RUN, params=PARAMS | {"kd_weight": 0.06})  # another configuration: not done
    assert progress.count(runs, places)[1].done == 0


def git(folder, *arguments):
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_test_part_is_read_under_committed_configurations_only_and_logged(places, tmp_path):
    runs = [RUN._replace(arm="plain"), RUN]
    choose(places, *runs)
    with pytest.raises(ValueError, match="'made-up_vbpr_distill-.01_0'. are for the validation"):
        list(confirm.read_test([RUN._replace(arm="distill-.01")], places))
    with pytest.raises(confirm.NotCommittedError, match="is not committed as it is now .no git"):
        list(confirm.read_test(runs, places))
    git(tmp_path, "init", "-q")
    with pytest.raises(confirm.NotCommittedError, match="is not committed as it is now"):
        list(confirm.read_test(runs, places))
    git(tmp_path, "add", "results/tuned")
    git(tmp_path, "commit", "-qm", "chosen")
    with pytest.raises(RuntimeError, match="2 runs are not done, or done .*made-up_vbpr_plain_0"):
        list(confirm.read_test(runs, places))
    assert rows_of(places, "reads") == []
    for run in runs:
        train.run_once(run, PARAMS, places)

    reading = confirm.read_test(runs, places)
    first = next(reading)
    reading.close()  # killed; going on is the same reading
    with store.locked(store.lock_of(RUN, places)):
        assert list(confirm.read_test(runs, places)) == []  # another process is at the other one
    second = list(confirm.read_test(runs, places))
    assert [first["reading"], *(r["reading"] for r in second)] == ["confirmatory"] * 2
    assert [r["arm"] for r in rows_of(places, "test")] == ["plain", "ours"]
    assert set(first["groups"]) >= {"users with many", "head items", "tail items"}
    _, values = store.load_users(train.users_of(runs[0], "test", places), "ndcg@20")
    assert values.mean() == pytest.approx(first["test"]["ndcg@20"], abs=1e-4)

    assert list(confirm.read_test(runs[:1], places)) == []  # read already: not again
    assert list(confirm.read_test(runs, places)) == []
    assert [row["label"] for row in rows_of(places, "reads")] == ["confirmatory"] * 3
    confirmed = effects.finished(runs, places, "test")
    assert effects.first_read(runs, places) == confirmed

    choose(places, RUN, params=PARAMS | {"kd_weight": 0.06})
    with pytest.raises(confirm.NotCommittedError, match="is not committed as it is now"):
        list(confirm.read_test(runs, places))

    # Tuned again: what changed is read again, as exploratory, and the first reading is kept.
    git(tmp_path, "commit", "-qam", "chosen again")
    train.run_once(RUN, PARAMS | {"kd_weight": 0.06}, places)
    (again,) = confirm.read_test(runs, places)
    assert (again["arm"], again["reading"]) == ("ours", "exploratory")
    assert effects.finished(runs, places, "test") == {runs[0]: first, RUN: again}
    assert effects.first_read(runs, places) == confirmed
    now, before = (
        effects.effects(rows, places, "test", ("ours", "plain"))[RUN[:2]]
        for rows in ({runs[0]: first, RUN: again}, confirmed)
    )
    for effect, row in ((now, again), (before, confirmed[RUN])):
        assert effect.mean_b == pytest.approx(row["test"]["ndcg@20"], abs=1e-4)
        assert effect.mean_a == pytest.approx(first["test"]["ndcg@20"], abs=1e-4)
    assert now.mean_b != before.mean_b
    # Another cell, that was read once.
    others = [run._replace(backbone="bm3") for run in runs]
    choose(places, *others)
    for run, other in zip(runs, others, strict=True):
        row = confirmed[run] | {"backbone": "bm3"}
        store.add_row(places.results / "test.jsonl", row, locks=places.scratch / "locks")
        shutil.copy(*(train.users_of(r, "test", places) for r in (run, other)))

    def families():
        """The lines of ours against plain: now, and as first read."""
        told = report.report([*runs, *others], places, "test")
        told = told.split("## ours (second) against plain (first)")[1].split("## ")[0]
        parts = told.split("As first read")
        lines = [[x for x in part.splitlines() if x.startswith("| made-up")] for part in parts]
        return [[x.split(" | ")[:3] for x in part] for part in lines]

    def line(name, effect):
        return [f"| made-up {name}", f"{effect.mean_a:.4f}", f"{effect.mean_b:.4f}"]

    once = line("bm3", before)
    assert families() == [[line("vbpr (again)", now), once], [line("vbpr", before), once]]
    # Where the first rows are withdrawn, there is no first reading to show.
    rows = [r for r in rows_of(places, "test") if r["backbone"] == "bm3"]
    rows = [first | {"reading": "exploratory"}, again, *rows]
    (places.results / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    shutil.copy(*(train.users_of(runs[0], part, places) for part in ("test", "exploratory")))
    assert families() == [[line("vbpr (again)", now), once]]


def test_the_grid_has_every_cell_and_enough_seeds():
    runs = list(progress.grid(["office", "toys", "ml1m", "tiktok"], ["vbpr", "none"]))
    assert {run.arm for run in runs} == set(ARMS) | set(YARDSTICKS)
    main = {run.arm for run in runs if run[:2] == ("ml1m", "vbpr")}
    assert main == {arm for family in FAMILIES for arm in family} | {"plain-label", "unit-rows"}
    assert {r.arm for r in progress.grid(["toys"], ["vbpr"], ["ce-0"])} == {"ce-0"}
    efforts = {(data, backbone): effort(data, backbone) for data in GRID for backbone in BACKBONES}
    assert len(efforts) == 16
    for (data, backbone), own in efforts.items():
        dear = (data, backbone) in {("ml1m", "grcn"), ("ml1m", "maml"), ("toys", "maml")}
        assert (own.explore, own.trials) == (2, 1) if dear else own.explore >= own.trials >= 3
        assert len(own.seeds) >= {"office": 5, "tiktok": 5, "ml1m": 3, "toys": 2}[data]
        control = "release-kd-0" if backbone in ("grcn", "maml") else "release"
        assert own.arms is None or set(own.arms) >= main - {"unit-rows"} | {control}
    assert batch_size("toys", "grcn") == 4 * batch_size("toys", "vbpr") == 8192
    assert patience("ml1m", "vbpr") == 3
    assert patience("ml1m", "grcn") == 5


def test_why_says_what_was_learned_and_which_gradients_move_the_student(places):
    pytest.importorskip("sklearn")
    from benchmarks.study import maps, why

    plain, off = RUN._replace(arm="plain"), RUN._replace(arm="kd-0")
    choose(places, plain, RUN)
    assert why.why(RUN, places) is None  # not run yet
    for run in (plain, RUN, off):
        train.run_once(run, PARAMS, places)
    assert why.why(plain, places) is None  # nothing is taught there
    row, silent = why.why(RUN, places), why.why(off, places)
    assert why.why(RUN, places) is None  # done

    # The gradients by another way: what the loss says without a weight is the recommendation's.
    assert silent["gradients"]["distillation"] == silent["gradients"]["cosine"] == 0
    assert row["gradients"]["distillation"] > 0
    data = train.catalog(RUN, places.root)
    model = ARMS["ours"].build(data, "vbpr", PARAMS, 0)
    best = torch.load(train.best_of(RUN, PARAMS, places), weights_only=True)
    model.load_state_dict(best)
    learned = why.gradients(model, data, RUN)
    assert learned == row["gradients"]
    model.sgfd_loss.kd_weight *= 2
    twice = why.gradients(model, data, RUN)
    assert twice["distillation"] == pytest.approx(2 * learned["distillation"], rel=1e-4)
    assert twice["recommendation"] == pytest.approx(learned["recommendation"], rel=1e-3)

    labels = data.labels
    assert row["majority"] == pytest.approx(np.bincount(labels).max() / len(labels))
    said = model.teacher({m: torch.from_numpy(x) for m, x in data.features.items()})
    for m, logits in said.logits.items():
        assert row["teacher"][m] == pytest.approx((logits.argmax(1).numpy() == labels).mean())

    text = report.report([plain, RUN, off], places, "validation")
    assert "| ours | image |" in text
    choose(places, RUN, params=PARAMS | {"kd_weight": 0.06})  # not what was looked at
    assert "| ours | image |" not in report.report([plain, RUN, off], places, "validation")
    choose(places, RUN)
    maps.draw_maps(RUN, places)
    drawn = sorted(p.name for p in places.results.glob("map_*.png"))
    assert drawn == [f"map_made-up_vbpr_{m}.png" for m in data.features]
