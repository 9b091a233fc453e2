"""Weights of the distillation loss that change from step to step."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import Callback, Trainer
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor
from training.small_models import NoisyMF, StopAfter, quiet_fit

from sgfd import Distilled, SGFDLoss, distill, pretrain_teacher
from sgfd.backbones import VBPR
from sgfd.data import Dataset
from sgfd.training import (
    FitResult,
    InteractionDataModule,
    RecommenderModule,
    Schedule,
    Weights,
    decay,
    warm_up,
)

STEPS = 6  # of an epoch, at 48 pairs a batch


def drifting(step: int) -> tuple[float, float]:
    """All weights differ, from each other and from the defaults."""
    return 0.2 + 0.03 * step, 0.9 - 0.04 * step


def model_of(catalog: Dataset, *, ce_weight: float = 0.7, kd_weight: float = 0.6) -> Distilled:
    vbpr = VBPR(catalog.train, catalog.features, dim=4)
    loss = SGFDLoss(ce_weight=ce_weight, kd_weight=kd_weight)
    return distill(vbpr, catalog.features, catalog.labels, loss=loss)


def train(model: Distilled, catalog: Dataset, **settings: Any) -> FitResult:
    common = {"max_epochs": 3, "batch_size": 48, "learning_rate": 0.02, "tensorboard": False}
    return quiet_fit(model, catalog, **common | settings)


class Terms(Callback):
    """The terms of every step, and the loss's weights between steps."""

    def __init__(self) -> None:
        self.steps: list[dict[str, float]] = []
        self.between: list[Weights] = []

    def on_train_batch_end(self, *args: Any) -> None:
        _trainer, module, outputs, *_ = args
        self.steps.append({name: value.item() for name, value in outputs["terms"].items()})
        loss = module.model.sgfd_loss
        self.between.append(Weights(loss.ce_weight, loss.kd_weight))


def test_every_step_is_taken_with_its_weights(catalog: Dataset) -> None:
    model, terms = model_of(catalog), Terms()
    train(model, catalog, schedule=drifting, callbacks=[terms])
    assert len(terms.steps) == 3 * STEPS
    for step, now in enumerate(terms.steps):
        ce_weight, kd_weight = drifting(step)
        assert now["ce_weight"] == pytest.approx(ce_weight)
        assert now["kd_weight"] == pytest.approx(kd_weight)
        expected = (
            now["recommendation"]
            + ce_weight * (now["classification"] + now["fusion"])
            + kd_weight * (now["response"] + now["feature"])
        )
        assert now["total"] == pytest.approx(expected, rel=1e-5)


def test_a_constant_schedule_is_the_loss_with_these_weights(catalog: Dataset) -> None:
    scheduled = model_of(catalog)
    constant = model_of(catalog, ce_weight=0.3, kd_weight=0.4)
    train(scheduled, catalog, schedule=lambda step: (0.3, 0.4))
    train(constant, catalog)
    for name, part in constant.state_dict().items():
        assert torch.equal(part, scheduled.state_dict()[name])


def test_the_loss_keeps_its_own_weights(catalog: Dataset) -> None:
    model, terms = model_of(catalog), Terms()
    train(model, catalog, schedule=drifting, callbacks=[terms])
    assert set(terms.between) == {(0.7, 0.6)}

    def stops(step: int) -> tuple[float, float]:
        return (0.3, 0.4) if step < 2 else (0.3, -1.0)

    with pytest.raises(ValueError, match=r"at step 2 it is \(0\.3, -1\.0\)"):
        train(model, catalog, schedule=stops)
    assert (model.sgfd_loss.ce_weight, model.sgfd_loss.kd_weight) == (0.7, 0.6)


@pytest.mark.parametrize("frozen", [False, True], ids=["joint", "frozen teacher"])
@pytest.mark.parametrize("stop", [3, STEPS, 10])
def test_an_interrupted_run_goes_on_with_the_weights_of_its_step(
    catalog: Dataset, tmp_path: Path, stop: int, frozen: bool
) -> None:
    def run(folder: Path, **settings: Any) -> tuple[dict[str, Tensor], FitResult]:
        model = model_of(catalog)
        if frozen:
            pretrain_teacher(model.teacher, catalog.features, catalog.labels, epochs=2)
            model.teacher.requires_grad_(False)
        teacher = torch.cat([p.detach().flatten() for p in model.teacher.parameters()])
        common = {"schedule": drifting, "checkpoint_every": 2}
        result = train(model, catalog, directory=folder, **common | settings)
        after = torch.cat([p.detach().flatten() for p in model.teacher.parameters()])
        assert torch.equal(after, teacher) == frozen
        last = torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]
        return last, result._replace(checkpoint=None, best_parameters=None)

    with pytest.raises(InterruptedError):
        run(tmp_path / "a", callbacks=[StopAfter(stop)])
    resumed, resumed_result = run(tmp_path / "a", resume=True)
    whole, whole_result = run(tmp_path / "b")
    assert all(torch.equal(resumed[name], part) for name, part in whole.items())
    assert resumed_result == whole_result
    other, _ = run(tmp_path / "c", schedule=lambda step: drifting(step + 1))
    assert not all(torch.equal(other[name], part) for name, part in whole.items())


@pytest.mark.parametrize(
    ("then", "now"),
    [
        (drifting, None),
        (None, drifting),
        (drifting, lambda step: drifting(2 * step)),
        (warm_up(0.1, 0.2, steps=40), warm_up(0.1, 0.2, steps=50)),
    ],
    ids=["forgotten", "new", "faster", "longer"],
)
def test_going_on_with_another_schedule_is_an_error(
    catalog: Dataset, tmp_path: Path, then: Schedule | None, now: Schedule | None
) -> None:
    with pytest.raises(InterruptedError):
        train(
            model_of(catalog),
            catalog,
            directory=tmp_path,
            schedule=then,
            callbacks=[StopAfter(STEPS + 1)],
        )
    with pytest.raises(ValueError, match="schedule was .*, is "):
        train(model_of(catalog), catalog, directory=tmp_path, schedule=now, resume=True)


def test_weights_are_recorded_and_logged(catalog: Dataset, tmp_path: Path) -> None:
    result = train(
        model_of(catalog), catalog, schedule=drifting, directory=tmp_path, tensorboard=True
    )
    for epoch, record in enumerate(result.history):
        steps = range(epoch * STEPS, (epoch + 1) * STEPS)
        for i, name in enumerate(Weights._fields):
            mean = sum(drifting(step)[i] for step in steps) / STEPS
            assert record.terms[name] == pytest.approx(mean)
    header = (tmp_path / "history.csv").read_text().splitlines()[0].split(",")
    assert {"train/ce_weight", "train/kd_weight"} < set(header)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    logged = {event.step: event.value for event in events.Scalars("train/kd_weight")}
    assert logged == pytest.approx({step: drifting(step)[1] for step in (5, 11, 17)})


def test_without_weights_the_teacher_stays_where_it_is(catalog: Dataset) -> None:
    class Teachers(Callback):
        def __init__(self) -> None:
            self.seen: list[Tensor] = []

        def on_train_batch_end(self, *args: Any) -> None:
            _trainer, module, *_ = args
            parameters = module.model.teacher.parameters()
            self.seen.append(torch.cat([p.detach().flatten() for p in parameters]))

    teachers = Teachers()
    model = model_of(catalog)
    settings = {"schedule": decay(0.5, 0.4, steps=4), "weight_decay": 0.1, "max_epochs": 2}
    train(model, catalog, callbacks=[teachers], **settings)
    # Step 3 is the last with weights; Adam's momentum moves nothing that has no gradient.
    moved = [not torch.equal(a, b) for a, b in zip(teachers.seen, teachers.seen[1:], strict=False)]
    assert moved == [True] * 3 + [False] * 8


@pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning")  # Lightning's
def test_a_trainer_of_ones_own_takes_one(catalog: Dataset) -> None:
    terms = Terms()
    module = RecommenderModule(model_of(catalog), schedule=drifting)
    data = InteractionDataModule(catalog, batch_size=48)
    Trainer(
        max_steps=8,
        accelerator="cpu",
        logger=False,
        callbacks=[terms],
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    ).fit(module, datamodule=data)
    weights = [(now["ce_weight"], now["kd_weight"]) for now in terms.steps]
    assert [w for pair in weights for w in pair] == pytest.approx(
        [w for step in range(8) for w in drifting(step)]
    )


def test_in_a_loop_of_ones_own_weights_are_set_and_count_at_once(catalog: Dataset) -> None:
    model, items = model_of(catalog).double(), torch.arange(catalog.num_items)
    for step in (0, 3):
        model.sgfd_loss.ce_weight, model.sgfd_loss.kd_weight = drifting(step)
        terms = model.distillation_terms(items)
        expected = drifting(step)[0] * (terms.classification + terms.fusion)
        expected = expected + drifting(step)[1] * (terms.response + terms.feature)
        torch.testing.assert_close(terms.total, expected)


def test_a_plain_model_has_no_weights_to_schedule(catalog: Dataset) -> None:
    plain = VBPR(catalog.train, catalog.features, dim=4)
    for model in (plain, NoisyMF(catalog.num_users, catalog.num_items)):
        with pytest.raises(TypeError, match=r"a model that distill\(\) made; \w+ has no such loss"):
            quiet_fit(model, catalog, max_epochs=1, schedule=drifting)


@pytest.mark.parametrize(
    ("schedule", "error", "text"),
    [
        (lambda step: 0.1, TypeError, r"of two numbers, at least 0 .*; at step 0 it is 0\.1"),
        (lambda step: None, TypeError, "at step 0 it is None"),
        (lambda step: ("a", "b"), TypeError, r"at step 0 it is \('a', 'b'\)"),
        (lambda step: (torch.ones(2), 0.1), TypeError, r"at step 0 it is \(tensor"),
        (lambda step: (0.1, 0.2, 0.3), ValueError, r"at step 0 it is \(0\.1, 0\.2, 0\.3\)"),
        (lambda step: (0.1, -0.2), ValueError, r"at step 0 it is \(0\.1, -0\.2\)"),
        (lambda step: (float("nan"), 0.2), ValueError, r"at step 0 it is \(nan, 0\.2\)"),
        (lambda step: (0.1, float("inf")), ValueError, r"at step 0 it is \(0\.1, inf\)"),
        ((0.1, 0.2), TypeError, r"must be a function .*got \(0\.1, 0\.2\)\. Weights that stay"),
    ],
)
def test_what_is_no_schedule_is_refused_before_training(
    catalog: Dataset, schedule: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        RecommenderModule(model_of(catalog), schedule=schedule)


def test_a_warm_up_grows_the_second_weight_and_a_decay_shrinks_both() -> None:
    up, down = warm_up(0.5, 0.8, steps=4), decay(0.5, 0.8, steps=4)
    steps = (0, 1, 2, 3, 4, 100)
    assert [up(step).kd_weight for step in steps] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.8])
    assert {up(step).ce_weight for step in steps} == {0.5}
    assert up(3) == up(4) == (0.5, 0.8)  # exactly
    assert [down(step).kd_weight for step in steps] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0, 0])
    assert [down(step).ce_weight for step in steps] == pytest.approx(
        [0.5, 0.375, 0.25, 0.125, 0, 0]
    )
    assert down(0) == (0.5, 0.8)
    assert down(4) == (0.0, 0.0)


@pytest.mark.parametrize("make", [warm_up, decay])
def test_schedules_can_be_pickled_and_check_their_arguments(make: Callable[..., Schedule]) -> None:
    schedule = make(0.5, 0.8, steps=4)
    assert pickle.loads(pickle.dumps(schedule))(1) == schedule(1)
    with pytest.raises(ValueError, match="steps must be an integer of at least 1; got 0"):
        make(0.5, 0.8, steps=0)
    with pytest.raises(ValueError, match=r"ce_weight must be at least 0 and finite; got -0\.5"):
        make(-0.5, 0.8, steps=4)
    with pytest.raises(ValueError, match="kd_weight must be at least 0 and finite; got inf"):
        make(0.5, float("inf"), steps=4)
