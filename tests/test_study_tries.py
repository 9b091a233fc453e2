"""What the study tries beside its arms: labels, weights and schedules are what their names say."""

import numpy as np
import pytest
import torch

pytest.importorskip("optuna")

from benchmarks.study import store, tries
from benchmarks.study.grid import DATA
from test_study import RUN, choose, choose_explorers, places  # noqa: F401 (a fixture)

from sgfd import distill
from sgfd.backbones import GRCN, VBPR


@pytest.fixture(scope="module")
def data():
    return DATA["made-up"].load(None, 0)


@pytest.fixture
def made(data):
    model = distill(VBPR(data.train, data.features, dim=8), data.features, data.labels)
    return tries.Made(model, data, data.labels, RUN, steps=5)


def test_every_try_is_made_once_on_each_layer(places, monkeypatch):  # noqa: F811
    kept = ("no teacher", "neighbors by behavior", "leaf labels", "as large as the gradient")
    monkeypatch.setattr(tries, "TRIES", {name: tries.TRIES[name] for name in kept})
    assert list(tries.try_all("made-up", "vbpr", places)) == []  # nothing is chosen yet
    choose_explorers(places)
    first = list(tries.try_all("made-up", "vbpr", places, arms=["unit-rows"]))
    assert {row["student"] for row in first} == {"unit"}
    then = list(tries.try_all("made-up", "vbpr", places))
    rows = [*then, *first]
    names = [(row["student"], row["what"]) for row in rows]
    there = [name for name in kept if name != "leaf labels"]  # a file that only Office has
    assert names == [(student, name) for student in ("linear", "paper", "unit") for name in there]
    assert all(0 < row["ndcg@20"] < 1 for row in rows)
    assert len({row["ndcg@20"] for row in rows}) > 2
    assert store.read_rows(places.results / "tries.jsonl") == [*first, *then]
    assert list(tries.try_all("made-up", "vbpr", places)) == []


def test_neighbors_are_popular_items_of_the_same_users(data):
    labels = tries.neighbors(data, None, count=3, among=20)
    assert labels.shape == (data.num_items, 20)
    assert set(labels.sum(axis=1)) == {3.0}
    anchors = np.argsort(-data.train.sum(axis=0), kind="stable")[:20]
    assert (labels[anchors, np.arange(20)] == 1).all()  # each is its own
    shared = (data.train.T @ data.train).toarray()[:, anchors]
    other = anchors[None] != np.arange(data.num_items)[:, None]
    near = (labels > 0) & other
    assert shared[near].mean() > 2 * shared[~near & other].mean()


def test_schedules_end_where_they_say(made):
    fading, growing = tries.fading(made, 0.1), tries.growing(made, 0.01)
    end = tries.RAMP * made.steps
    assert [fading(step)[1] for step in (0, end)] == [0.1, 0.0]
    assert [growing(step)[1] for step in (end - 1, end)] == [0.01, 0.01]
    assert growing(0)[1] == pytest.approx(0.01 / end)


def test_a_teacher_of_two_stages_has_learned_and_stays(made):
    before = {k: v.clone() for k, v in made.model.teacher.state_dict().items()}
    assert tries.two_stages(made, 0.03) is None
    after = made.model.teacher.state_dict()
    assert any(not torch.equal(before[k], after[k]) for k in before)
    assert not any(p.requires_grad for p in made.model.teacher.parameters())
    assert (made.model.sgfd_loss.ce_weight, made.model.sgfd_loss.kd_weight) == (0.0, 0.03)


@pytest.mark.parametrize("share", [0.1, 1.0])
def test_by_norm_the_pull_is_that_share_of_the_recommendations(made, share):
    made.model.train()
    weight = tries.by_norm(made, share)(0)[1]
    assert made.model.training
    made.model.sgfd_loss.kd_weight = weight
    found = tries.gradients(made.model, made.data, made.run, batches=2)
    assert found["distillation"] == pytest.approx(share * found["recommendation"], rel=1e-4)


def test_what_is_tried_of_grcn_is_tried_by_name(places):  # noqa: F811
    found = {"learning_rate": 0.01, "reg_weight": 0.03}
    choose(places, RUN._replace(backbone="grcn", arm="plain"), params=found)
    names = list(tries.OF_GRCN)
    with pytest.raises(ValueError, match=r"no such try: \['half'\]; there are \['no teacher',"):
        list(tries.try_all("made-up", "vbpr", places, what=["half", "no teacher"]))
    choose(places, RUN._replace(arm="plain"), params=found)
    assert list(tries.try_all("made-up", "vbpr", places, what=names)) == []  # it has no edges
    kept = ["no teacher", *names]
    rows = list(tries.try_all("made-up", "grcn", places, arms=["plain"], what=kept))
    assert [row["what"] for row in rows] == kept
    assert len({row["ndcg@20"] for row in rows}) == 5


def test_edges_are_dropped_and_own_pairs_left_out(data):
    model = distill(GRCN(data.train, data.features, dim=8), data.features, data.labels)
    made = tries.Made(model, data, data.labels, RUN._replace(backbone="grcn"), steps=5)
    assert tries.thinned(made, 0.03) is None
    assert (model.backbone.dropout, model.backbone.target_edges) == (0.5, True)
    assert tries.left_out(made, 0.02) is None
    assert (model.sgfd_loss.kd_weight, model.backbone.target_edges) == (0.02, False)
