"""The parts in a ``lightning.Trainer`` of one's own."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from training.small_models import NoisyMF, Scripted, StopAfter, quiet_fit

from sgfd.backbones import BM3, GRCN, MAML, VBPR
from sgfd.data import Dataset
from sgfd.evaluation import evaluate
from sgfd.training import (
    AtomicCheckpointIO,
    BatchStream,
    ExactResume,
    FitResult,
    History,
    InteractionDataModule,
    RecommenderModule,
)

pytestmark = [
    # Lightning's, about itself.
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:The dirpath has changed"),
]


def trainer(**settings: Any) -> Trainer:
    common = {
        "accelerator": "cpu",
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return Trainer(**common | settings)


def test_metrics_are_logged_and_can_stop_training(ten_users: Dataset) -> None:
    module = RecommenderModule(Scripted(ten_users, [2, 6, 4, 3, 9], steps_per_epoch=2))
    data = InteractionDataModule(ten_users, batch_size=10)
    stop = EarlyStopping("val/recall@20", mode="max", patience=2)
    mine = trainer(max_epochs=5, num_sanity_val_steps=0, callbacks=[stop])
    mine.fit(module, datamodule=data)
    assert mine.current_epoch == 4
    assert float(stop.best_score) == pytest.approx(0.6)
    assert {"train/total", "train/recommendation", "val/ndcg@20"} <= set(mine.callback_metrics)


class FirstBatches(Callback):
    """Keeps the users of each epoch's first batch."""

    def __init__(self) -> None:
        self.users: list[list[int]] = []

    def on_train_batch_start(self, *arguments: Any) -> None:
        *_, batch, batch_idx = arguments
        if batch_idx == 0:
            self.users.append(batch.users.tolist())


def vbpr_module(catalog: Dataset) -> RecommenderModule:
    return RecommenderModule(VBPR(catalog.train, catalog.features, dim=4, seed=5))


def first_batches(
    catalog: Dataset,
    data: InteractionDataModule,
    *callbacks: Callback,
    resume: Path | None = None,
    **settings: Any,
) -> tuple[list[list[int]], History]:
    history, first = History(monitor="ndcg@20", patience=None), FirstBatches()
    mine = trainer(callbacks=[history, first, *callbacks], num_sanity_val_steps=0, **settings)
    mine.fit(vbpr_module(catalog), datamodule=data, ckpt_path=resume)
    return first.users, history


def saving_run(
    catalog: Dataset, saves: ModelCheckpoint, *callbacks: Callback, **settings: Any
) -> tuple[list[list[int]], History]:
    """``first_batches`` with a checkpoint callback of Lightning's."""
    plugins = {"enable_checkpointing": True, "plugins": [AtomicCheckpointIO()]}
    data = InteractionDataModule(catalog, batch_size=48)
    return first_batches(catalog, data, saves, *callbacks, **plugins, **settings)


def test_a_data_module_that_was_used_begins_anew(catalog: Dataset) -> None:
    new, history = first_batches(
        catalog, InteractionDataModule(catalog, batch_size=48), max_epochs=2
    )
    data = InteractionDataModule(catalog, batch_size=48)
    next(iter(data.train_dataloader()))
    for _ in range(2):  # peeked into, and then used
        again, same = first_batches(catalog, data, max_epochs=2)
        assert again == new
        assert same.records == history.records
    assert new[0] != new[1]


def test_a_trainer_that_goes_on_takes_the_next_epoch(catalog: Dataset) -> None:
    whole, _ = first_batches(catalog, InteractionDataModule(catalog, batch_size=48), max_epochs=3)
    data, first = InteractionDataModule(catalog, batch_size=48), FirstBatches()
    mine = trainer(callbacks=[first], num_sanity_val_steps=0, max_epochs=2)
    module = vbpr_module(catalog)
    mine.fit(module, datamodule=data)
    mine.fit_loop.max_epochs = 3
    mine.fit(module, datamodule=data)
    assert first.users == whole


def test_epochs_cut_short_are_different_epochs(catalog: Dataset) -> None:
    whole, _ = first_batches(catalog, InteractionDataModule(catalog, batch_size=48), max_epochs=4)
    short, history = first_batches(
        catalog,
        InteractionDataModule(catalog, batch_size=48),
        max_epochs=4,
        limit_train_batches=3,
    )
    assert short == whole
    assert len({record.metrics["ndcg@20"] for record in history.records}) == 4


@pytest.mark.parametrize(
    "settings",
    [{"check_val_every_n_epoch": 2}, {"limit_val_batches": 0}],
)
def test_an_epoch_without_validation_is_an_error(
    catalog: Dataset, settings: dict[str, Any]
) -> None:
    data = InteractionDataModule(catalog, batch_size=48)
    with pytest.raises(RuntimeError, match="at the end of every epoch.* epoch 0 had none there"):
        first_batches(catalog, data, max_epochs=2, **settings)


def test_validations_beside_the_ends_of_epochs_are_refused_before_training(
    catalog: Dataset,
) -> None:
    data = InteractionDataModule(catalog, batch_size=48)  # six batches
    with pytest.raises(ValueError, match="one after every 4 of its 6 batches. Give one that"):
        first_batches(catalog, data, max_epochs=1, val_check_interval=4)


def test_a_validation_before_training_is_not_the_first_epochs(catalog: Dataset) -> None:
    module = RecommenderModule(VBPR(catalog.train, catalog.features, dim=4))
    data = InteractionDataModule(catalog)
    mine = trainer(
        max_epochs=2,
        check_val_every_n_epoch=2,
        callbacks=[History(monitor="ndcg@20", patience=None)],
    )
    mine.validate(module, datamodule=data, verbose=False)
    with pytest.raises(RuntimeError, match="epoch 0 had none there"):
        mine.fit(module, datamodule=data)


def test_more_validations_within_an_epoch_judge_none_but_the_last(catalog: Dataset) -> None:
    data = InteractionDataModule(catalog, batch_size=48)
    _, expected = first_batches(catalog, data, max_epochs=2)
    _, history = first_batches(catalog, data, max_epochs=2, val_check_interval=0.5)
    assert history.records == expected.records


def test_an_epoch_cut_short_by_max_steps_has_no_record(catalog: Dataset) -> None:
    data = InteractionDataModule(catalog, batch_size=48)  # six batches
    _, expected = first_batches(catalog, data, max_epochs=1)
    _, history = first_batches(catalog, data, max_epochs=9, max_steps=9)
    assert history.records == expected.records
    _, none = first_batches(catalog, data, max_epochs=9, max_steps=4)
    assert none.records == []


class StopAt(Callback):
    """Tells the trainer to stop after a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Trainer, *_: Any) -> None:
        trainer.should_stop = trainer.global_step == self.step


@pytest.mark.parametrize("step", [3, 9])
def test_a_run_that_a_callback_stops_keeps_what_it_validated_and_goes_on(
    catalog: Dataset, tmp_path: Path, step: int
) -> None:
    def run(directory: Path | None = None, **settings: Any) -> tuple[FitResult, VBPR]:
        model = VBPR(catalog.train, catalog.features, dim=4, seed=5)
        common = {"batch_size": 48, "max_epochs": 4, "tensorboard": False, "patience": 2}
        result = quiet_fit(model, catalog, directory=directory, **common | settings)
        return result, model

    whole, expected = run()
    cut, model = run(tmp_path, callbacks=[StopAt(step)])
    assert [record.epoch for record in cut.history] == list(range(step // 6 + 1))
    assert evaluate(model.scorer(), catalog.valid, seen=catalog.train).means() == (
        cut.history[cut.best_epoch].metrics
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*starting from the beginning")
        rest, model = run(tmp_path, resume=True)
    assert rest.history == whole.history
    assert all(torch.equal(x, model.state_dict()[n]) for n, x in expected.state_dict().items())


def test_a_run_stopped_before_anything_was_judged_is_left_as_it_is(catalog: Dataset) -> None:
    class AtOnce(Callback):
        def on_train_epoch_start(self, trainer: Trainer, *_: Any) -> None:
            trainer.should_stop = True

    model = VBPR(catalog.train, catalog.features, dim=4, seed=5)
    result = quiet_fit(model, catalog, max_epochs=2, callbacks=[AtOnce()])
    assert (result.history, result.best_epoch) == ((), -1)


def test_terms_of_an_interrupted_epoch_are_not_those_of_the_next(catalog: Dataset) -> None:
    _, whole = first_batches(catalog, InteractionDataModule(catalog, batch_size=48), max_epochs=1)
    history, stop = History(monitor="ndcg@20", patience=None), StopAfter(3)
    mine = trainer(max_epochs=1, num_sanity_val_steps=0, callbacks=[history, stop])
    data = InteractionDataModule(catalog, batch_size=48)
    modules = [vbpr_module(catalog) for _ in range(2)]
    with pytest.raises(InterruptedError):
        mine.fit(modules[0], datamodule=data)
    again = trainer(max_epochs=1, num_sanity_val_steps=0, callbacks=[history])
    with pytest.warns(UserWarning, match="The 3 batches before were of an epoch that never ended"):
        again.fit(modules[1], datamodule=data)
    assert history.records == whole.records


def test_going_on_after_max_steps_takes_whole_epochs(catalog: Dataset, tmp_path: Path) -> None:
    def run(name: str, **settings: Any) -> tuple[list[list[int]], History]:
        saves = ModelCheckpoint(tmp_path / name, save_last=True, save_on_train_epoch_end=True)
        return saving_run(catalog, saves, max_epochs=4, **settings)

    whole, _ = run("whole")
    run("begun", max_steps=9)
    rest, history = run("rest", resume=tmp_path / "begun" / "last.ckpt")
    assert [record.epoch for record in history.records] == [0, 2, 3]
    assert rest == whole[2:]


def test_a_shorter_epoch_ends_where_a_longer_one_went_on(catalog: Dataset) -> None:
    stream = InteractionDataModule(catalog, batch_size=48).train_dataloader()
    stream.begin(2, length=3)
    stream.load_state_dict({"epoch": 4, "batch": 3})
    assert stream.state_dict() == {"epoch": 5, "batch": 0}
    assert len(list(stream)) == 3
    stream.begin(np.int8(127), length=99)
    assert len(list(stream)) == 6
    assert stream.state_dict() == {"epoch": 128, "batch": 0}
    for length in (0, 2.5):
        with pytest.raises(ValueError, match="length must be an integer of at least 1"):
            stream.begin(0, length=length)


@pytest.mark.parametrize("limit", [3, 0.5, 1.0])
@pytest.mark.parametrize("at_epoch_end", [True, False])
def test_lightnings_own_checkpoints_go_on_as_if_never_left(
    catalog: Dataset, tmp_path: Path, limit: float, at_epoch_end: bool
) -> None:
    def train(name: str, **settings: Any) -> tuple[list[list[int]], History]:
        folder = tmp_path / name
        saves = ModelCheckpoint(folder, save_last=True, save_on_train_epoch_end=at_epoch_end)
        return saving_run(catalog, saves, limit_train_batches=limit, **settings)

    users, history = train("whole", max_epochs=4)
    begun, _ = train("begun", max_epochs=2)
    rest, again = train("rest", max_epochs=4, resume=tmp_path / "begun" / "last.ckpt")
    assert again.records == history.records
    assert begun + rest == users


def test_an_epoch_that_lightning_never_ends_is_told(catalog: Dataset, tmp_path: Path) -> None:
    def train(name: str, *callbacks: Callback, **settings: Any) -> History:
        saves = ModelCheckpoint(tmp_path / name, filename="at_6", every_n_train_steps=6)
        return saving_run(catalog, saves, *callbacks, max_epochs=2, **settings)[1]

    with pytest.raises(InterruptedError):
        train("begun", StopAfter(7))
    with pytest.warns(UserWarning, match="The 6 batches before were of an epoch that never ended"):
        [record] = train("rest", resume=tmp_path / "begun" / "at_6.ckpt").records
    _, whole = first_batches(catalog, InteractionDataModule(catalog, batch_size=48), max_epochs=2)
    assert record == whole.records[1]


@pytest.mark.parametrize("kind", [BM3, GRCN, VBPR, MAML])
def test_mixed_precision_ranks_by_whole_scores(catalog: Dataset, kind: Any) -> None:
    module = RecommenderModule(kind(catalog.train, catalog.features, dim=8, seed=1), ks=(1, 20))
    mine = trainer(precision="bf16-mixed", max_epochs=2, num_sanity_val_steps=0)
    mine.fit(module, InteractionDataModule(catalog, batch_size=48))
    scorer = module.model.eval().scorer()
    expected = evaluate(scorer, catalog.valid, seen=catalog.train, ks=(1, 20)).means()
    assert module.metrics == expected
    users = torch.arange(catalog.num_users)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(module.model.scorer()(users).float(), scorer(users))


def test_few_users_are_ranked_at_once_where_items_are_many(
    catalog: Dataset, noisy: NoisyMF, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, scores = [], noisy.scores
    monkeypatch.setattr(noisy, "scores", lambda users: (asked.append(len(users)), scores(users))[1])
    module, found = RecommenderModule(noisy), []
    for at_most in (2**26, 7 * catalog.num_items, 1):
        monkeypatch.setattr("sgfd.training._module._SCORES", at_most)
        asked.clear()
        found += trainer().validate(module, InteractionDataModule(catalog), verbose=False)
        assert max(asked) == {2**26: sum(asked), 1: 1}.get(at_most, 7)
    assert found[0] == found[1] == found[2]


def test_validation_and_test_rank_their_own_part(catalog: Dataset, noisy: NoisyMF) -> None:
    module, data = RecommenderModule(noisy), InteractionDataModule(catalog)
    mine = trainer()
    [valid] = mine.validate(module, datamodule=data, verbose=False)
    [test] = mine.test(module, datamodule=data, verbose=False)
    noisy.eval()
    expected = evaluate(noisy.scores, catalog.valid, seen=catalog.train).means()
    assert valid == pytest.approx({f"val/{name}": mean for name, mean in expected.items()})
    assert module.metrics == expected
    expected = evaluate(noisy.scores, catalog.test, seen=catalog.seen).means()
    assert test == pytest.approx({f"test/{name}": mean for name, mean in expected.items()})


def test_a_trainer_of_ones_own_resumes_exactly(catalog: Dataset, tmp_path: Path) -> None:
    def train(path: Path, *extra: Callback, resume: bool = False) -> None:
        history = History(monitor="ndcg@20", patience=None)
        mine = trainer(
            max_epochs=3,
            enable_checkpointing=True,
            callbacks=[ExactResume(path, every=4), history, *extra],
            plugins=[AtomicCheckpointIO()],
            num_sanity_val_steps=0,
        )
        mine.fit(
            RecommenderModule(VBPR(catalog.train, catalog.features, dim=4)),
            datamodule=InteractionDataModule(catalog, batch_size=48, seed=4),
            ckpt_path=path if resume else None,
        )

    train(tmp_path / "whole")
    with pytest.raises(InterruptedError):
        train(tmp_path / "parts", StopAfter(9))
    train(tmp_path / "parts", resume=True)
    whole, parts = (torch.load(tmp_path / n, weights_only=True) for n in ("whole", "parts"))
    assert all(torch.equal(x, parts["state_dict"][n]) for n, x in whole["state_dict"].items())
    assert whole["callbacks"]["History"]["records"] == parts["callbacks"]["History"]["records"]


def test_the_stream_goes_on_from_a_position_that_was_set(catalog: Dataset) -> None:
    whole, parts = (
        InteractionDataModule(catalog, batch_size=48, seed=4).train_dataloader() for _ in range(2)
    )
    expected = [batch for _ in range(2) for batch in whole]
    assert len(expected) == 2 * len(whole) == 12
    got = []
    for taken in (4, 2, 3, 3):  # the second and the last take what an epoch still owes
        iter(parts)  # an iterator that is never used takes nothing
        batches = iter(parts)
        got += [next(batches) for _ in range(taken)]
        parts.load_state_dict(parts.state_dict())
    assert parts.state_dict() == {"epoch": 2, "batch": 0}
    for a, b in zip(expected, got, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_stream_leaves_an_epoch_that_was_not_finished(catalog: Dataset) -> None:
    whole, parts = (
        InteractionDataModule(catalog, batch_size=48, seed=4).train_dataloader() for _ in range(2)
    )
    expected = [next(iter(batches)) for batches in [whole] * 3]
    next(iter(parts))
    assert torch.equal(next(iter(parts)).users, expected[1].users)
    assert parts.state_dict() == {"epoch": 1, "batch": 1}
    list(parts)
    assert parts.state_dict() == {"epoch": 3, "batch": 0}


def test_a_saved_position_is_refused_under_another_seed(catalog: Dataset) -> None:
    state = InteractionDataModule(catalog, seed=4).state_dict()
    assert state == {"seed": 4, "epoch": 0, "batch": 0}
    with pytest.raises(ValueError, match=r"seed must be that of the checkpoint \(4\).*got 5"):
        InteractionDataModule(catalog, seed=5).load_state_dict(state)


def test_the_stream_is_one_whatever_asks_for_it(catalog: Dataset) -> None:
    data = InteractionDataModule(catalog)
    assert isinstance(data.train_dataloader(), BatchStream)
    assert data.train_dataloader() is data.train_dataloader()


def test_history_says_what_it_needs(catalog: Dataset) -> None:
    class Other(LightningModule):
        def configure_optimizers(self) -> None:
            return None

        def training_step(self, batch: Any) -> None:  # noqa: ARG002
            return None

    mine = trainer(max_epochs=1, callbacks=[History(monitor="ndcg@20", patience=None)])
    with pytest.raises(TypeError, match="needs a RecommenderModule; got .*Other"):
        mine.fit(Other(), InteractionDataModule(catalog).train_dataloader())
