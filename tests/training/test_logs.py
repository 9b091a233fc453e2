"""What ``fit`` writes, shows and does not say."""

import csv
import warnings
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import nn
from training.small_models import NoisyMF, StopAfter, quiet_fit

from sgfd import distill
from sgfd.backbones import VBPR
from sgfd.data import Dataset


def test_files_hold_every_epoch_and_the_best_parameters(
    catalog: Dataset, noisy: NoisyMF, tmp_path: Path
) -> None:
    folder = tmp_path / "new" / "run"
    result = quiet_fit(noisy, catalog, max_epochs=3, batch_size=48, directory=folder)
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    for row, record in zip(rows, result.history, strict=True):
        for name, value in record.terms.items():
            assert float(row[f"train/{name}"]) == value
        for name, value in record.metrics.items():
            assert float(row[f"val/{name}"]) == value
    assert result.best_parameters == folder / "best.pt"
    best = torch.load(folder / "best.pt", weights_only=True)
    assert torch.equal(best["users"], noisy.users)
    assert result.checkpoint == folder / "last.ckpt"
    torch.load(folder / "last.ckpt", weights_only=True)


def test_tensorboard_has_every_term_and_metric_once_even_after_a_resume(
    catalog: Dataset, tmp_path: Path
) -> None:
    def model() -> nn.Module:
        vbpr = VBPR(catalog.train, catalog.features, dim=4)
        return distill(vbpr, catalog.features, catalog.labels)

    settings = {"max_epochs": 3, "batch_size": 48, "directory": tmp_path}
    with pytest.raises(InterruptedError):
        quiet_fit(model(), catalog, callbacks=[StopAfter(11)], **settings)
    # The accumulator sorts files by the second of their start, which is the same for both.
    [first] = (tmp_path / "tensorboard").glob("events*")
    first.rename(first.with_name("events.out.tfevents.0"))
    result = quiet_fit(model(), catalog, resume=True, **settings)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    steps = -(-catalog.train.nnz // 48)
    ends = [steps * (epoch + 1) - 1 for epoch in range(3)]
    for name in result.history[0].terms:
        # Logged each time as many steps have been done as an epoch has.
        assert [event.step for event in events.Scalars(f"train/{name}")] == ends
        logged = events.Scalars(f"epoch/{name}")
        assert [event.step for event in logged] == ends
        means = [record.terms[name] for record in result.history]
        assert [event.value for event in logged] == pytest.approx(means)
    logged = events.Scalars("val/ndcg@20")
    assert [event.step for event in logged] == ends
    values = [record.metrics["ndcg@20"] for record in result.history]
    assert [event.value for event in logged] == pytest.approx(values)


def test_without_a_directory_nothing_is_written(
    catalog: Dataset, noisy: NoisyMF, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = quiet_fit(noisy, catalog, max_epochs=1)
    assert (result.checkpoint, result.best_parameters) == (None, None)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_said_without_progress(
    catalog: Dataset,
    noisy: NoisyMF,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        quiet_fit(noisy, catalog, max_epochs=2, directory=tmp_path)
    assert [str(warning.message) for warning in caught] == []
    assert capfd.readouterr() == ("", "")
    assert caplog.text == ""


def test_progress_shows_epochs_steps_and_the_metric(
    catalog: Dataset, noisy: NoisyMF, capfd: pytest.CaptureFixture[str]
) -> None:
    result = quiet_fit(noisy, catalog, max_epochs=2, batch_size=48, progress=True)
    out, err = capfd.readouterr()
    assert out == ""
    steps = 2 * -(-catalog.train.nnz // 48)
    assert f"2/2 epochs: 100%|██████████| {steps}/{steps}" in err
    assert (
        f"ndcg@20 {result.history[1].metrics['ndcg@20']:.4f}, best {result.best_value:.4f}" in err
    )
