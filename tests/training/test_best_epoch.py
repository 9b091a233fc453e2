"""Which epoch ``fit`` chooses, and when it stops."""

from pathlib import Path

import numpy as np
import pytest
from training.small_models import NoisyMF, Scripted, StopAfter, quiet_fit

from sgfd.data import Dataset
from sgfd.evaluation import evaluate


def scripted(ten_users: Dataset, script: list[int]) -> Scripted:
    return Scripted(ten_users, script, steps_per_epoch=2)  # 20 pairs, 10 a batch


def test_the_best_epoch_is_kept_and_patience_counts_from_it(ten_users: Dataset) -> None:
    model = scripted(ten_users, [3, 5, 4, 5, 2, 9, 10])
    result = quiet_fit(model, ten_users, max_epochs=7, batch_size=10, patience=3)
    # Epoch 3 only equals epoch 1, so three epochs later, after epoch 4, patience has run out.
    assert [record.metrics["ndcg@20"] > 0.9 for record in result.history] == [False] * 5
    assert (result.best_epoch, result.stopped_early, len(result.history)) == (1, True, 5)
    assert int(model.steps) == 4  # as it was after epoch 1
    assert result.best_value == result.history[1].metrics["ndcg@20"]


def test_without_patience_every_epoch_is_trained(ten_users: Dataset) -> None:
    model = scripted(ten_users, [6, 5, 4, 3, 2, 1, 8])
    result = quiet_fit(model, ten_users, max_epochs=7, batch_size=10, patience=None)
    assert (result.best_epoch, result.stopped_early, len(result.history)) == (6, False, 7)


@pytest.mark.parametrize("killed_after", [3, 5, 7, 9])
def test_patience_survives_an_interruption(
    ten_users: Dataset, tmp_path: Path, killed_after: int
) -> None:
    script = [3, 5, 4, 2, 2, 9, 10]
    settings = {"max_epochs": 7, "batch_size": 10, "patience": 3, "directory": tmp_path}
    with pytest.raises(InterruptedError):
        quiet_fit(
            scripted(ten_users, script), ten_users, callbacks=[StopAfter(killed_after)], **settings
        )
    model = scripted(ten_users, script)
    result = quiet_fit(model, ten_users, resume=True, **settings)
    assert (result.best_epoch, result.stopped_early, len(result.history)) == (1, True, 5)
    assert int(model.steps) == 4


def test_a_run_that_stopped_early_stays_stopped(ten_users: Dataset, tmp_path: Path) -> None:
    script = [3, 5, 4, 2, 2, 9, 10]
    settings = {"max_epochs": 7, "batch_size": 10, "directory": tmp_path, "tensorboard": False}
    first = quiet_fit(scripted(ten_users, script), ten_users, patience=2, **settings)
    again = quiet_fit(scripted(ten_users, script), ten_users, patience=2, resume=True, **settings)
    assert again == first
    assert len(again.history) == 4
    more = quiet_fit(scripted(ten_users, script), ten_users, patience=5, resume=True, **settings)
    assert (more.best_epoch, len(more.history)) == (6, 7)


def test_any_metric_can_be_monitored(catalog: Dataset, noisy: NoisyMF) -> None:
    result = quiet_fit(
        noisy, catalog, max_epochs=4, batch_size=48, monitor="mrr@7", ks=(7, 30), learning_rate=0.03
    )
    values = [record.metrics["mrr@7"] for record in result.history]
    assert result.best_value == max(values)
    assert result.best_epoch == int(np.argmax(values))
    assert "recall@30" in result.history[0].metrics


def test_the_model_ends_in_evaluation_mode_with_the_best_value(
    catalog: Dataset, noisy: NoisyMF
) -> None:
    noisy.eval()  # it is trained with dropout all the same
    result = quiet_fit(noisy, catalog, max_epochs=5, batch_size=48, learning_rate=0.1)
    assert not noisy.training
    means = evaluate(noisy.scores, catalog.valid, seen=catalog.train).means()
    assert means == result.history[result.best_epoch].metrics
    assert means["ndcg@20"] == result.best_value
