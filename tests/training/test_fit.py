"""What ``fit`` trains on, and what it makes of the model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback
from torch import Tensor, nn
from training.small_models import NoisyMF, StopAfter, quiet_fit

from sgfd import distill
from sgfd.backbones import BM3, VBPR, Batch
from sgfd.data import Dataset


class Recorder(Callback):
    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def on_train_batch_start(self, *args: Any) -> None:
        _trainer, _module, batch, _index = args
        self.batches.append(batch)


def flat(batches: list[Batch]) -> Tensor:
    return torch.cat([part.flatten() for batch in batches for part in batch])


def test_plain_and_distilled_models_see_identical_batches(catalog: Dataset) -> None:
    seen = []
    for teach in (False, True):
        model: nn.Module = VBPR(catalog.train, catalog.features, dim=4)
        if teach:
            model = distill(model, catalog.features, catalog.labels)
        recorder = Recorder()
        quiet_fit(model, catalog, max_epochs=3, batch_size=48, seed=9, callbacks=[recorder])
        seen.append(flat(recorder.batches))
    assert torch.equal(*seen)


def test_each_epoch_visits_every_pair_once_in_another_order(
    catalog: Dataset, noisy: NoisyMF
) -> None:
    recorder = Recorder()
    quiet_fit(noisy, catalog, max_epochs=3, batch_size=48, callbacks=[recorder])
    per_epoch = -(-catalog.train.nnz // 48)
    pairs = set(zip(*catalog.train.nonzero(), strict=True))
    orders = []
    for epoch in range(3):
        batches = recorder.batches[epoch * per_epoch : (epoch + 1) * per_epoch]
        order = [pair for b in batches for pair in zip(*(p.tolist() for p in b[:2]), strict=True)]
        assert len(order) == catalog.train.nnz
        assert set(order) == pairs
        orders.append(order)
    assert orders[0] != orders[1] != orders[2] != orders[0]


def test_negatives_are_never_seen_items(catalog: Dataset, noisy: NoisyMF) -> None:
    recorder = Recorder()
    quiet_fit(noisy, catalog, max_epochs=5, num_negatives=7, callbacks=[recorder])
    seen = torch.from_numpy(catalog.train.toarray())
    for batch in recorder.batches:
        assert batch.negatives.shape == (len(batch.users), 7)
        assert seen[batch.users[:, None], batch.negatives].sum() == 0


def test_the_same_seed_gives_the_same_numbers(catalog: Dataset) -> None:
    models = [NoisyMF(catalog.num_users, catalog.num_items) for _ in range(3)]
    results = [
        quiet_fit(model, catalog, max_epochs=3, batch_size=48, seed=seed)
        for model, seed in zip(models, (5, 5, 6), strict=True)
    ]
    assert results[0] == results[1]
    assert torch.equal(models[0].users, models[1].users)
    assert results[0].history[0].terms != results[2].history[0].terms


def test_an_epoch_is_what_a_plain_loop_does(catalog: Dataset) -> None:
    class Constant(NoisyMF):  # without the noise, there is no generator to keep in step
        def forward(self, batch: Batch) -> Tensor:
            users = self.users[batch.users]
            gap = (users * (self.items[batch.items] - self.items[batch.negatives[:, 0]])).sum(-1)
            return -gap.sigmoid().log().mean()

    fitted = Constant(catalog.num_users, catalog.num_items)
    looped = Constant(catalog.num_users, catalog.num_items)
    recorder = Recorder()
    result = quiet_fit(
        fitted,
        catalog,
        max_epochs=1,
        batch_size=100,
        learning_rate=0.02,
        weight_decay=0.03,
        callbacks=[recorder],
    )
    adam = torch.optim.Adam(looped.parameters(), lr=0.02, weight_decay=0.03, fused=True)
    losses = []
    for batch in recorder.batches:
        adam.zero_grad()
        loss = looped(batch)
        loss.backward()
        adam.step()
        losses.append(loss.item())
    assert torch.equal(fitted.users, looped.users)
    assert result.history[0].terms["total"] == pytest.approx(np.mean(losses), rel=1e-12)


def test_an_optimizer_can_be_given(catalog: Dataset, noisy: NoisyMF) -> None:
    before = noisy.users.detach().clone()
    quiet_fit(noisy, catalog, max_epochs=1, optimizer=lambda p: torch.optim.SGD(p, lr=0.0))
    assert torch.equal(noisy.users, before)


def test_a_distilled_bm3_trains_backbone_student_and_teacher(catalog: Dataset) -> None:
    model = distill(BM3(catalog.train, catalog.features, dim=4), catalog.features, catalog.labels)
    before = {name: part.detach().clone() for name, part in model.named_parameters()}
    result = quiet_fit(
        model, catalog, max_epochs=3, batch_size=48, num_negatives=0, learning_rate=0.01
    )
    assert all(not torch.equal(part, before[name]) for name, part in model.named_parameters())
    first, last = result.history[0].terms, result.history[-1].terms
    names = ["total", "recommendation", "classification", "fusion", "response", "feature"]
    assert list(first) == names
    assert last["classification"] < first["classification"]
    weights = model.sgfd_loss
    expected = (
        first["recommendation"]
        + weights.ce_weight * (first["classification"] + first["fusion"])
        + weights.kd_weight * (first["response"] + first["feature"])
    )
    assert first["total"] == pytest.approx(expected, rel=1e-5)


def test_an_interrupted_distilled_model_resumes_exactly(catalog: Dataset, tmp_path: Path) -> None:
    def train(folder: Path, **settings: Any) -> dict[str, Tensor]:
        bm3 = BM3(catalog.train, catalog.features, dim=4)
        model = distill(bm3, catalog.features, catalog.labels)
        common = {"max_epochs": 3, "batch_size": 48, "checkpoint_every": 2, "tensorboard": False}
        quiet_fit(model, catalog, directory=folder, **common | settings)
        return torch.load(folder / "last.ckpt", weights_only=True)["state_dict"]

    with pytest.raises(InterruptedError):
        train(tmp_path / "a", callbacks=[StopAfter(10)])
    resumed = train(tmp_path / "a", resume=True)
    whole = train(tmp_path / "b")
    assert resumed.keys() == whole.keys()
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_under_an_autocast_it_trains_as_it_does_without(catalog: Dataset) -> None:
    def terms() -> list[float]:
        model = distill(
            VBPR(catalog.train, catalog.features, dim=8, seed=2), catalog.features, catalog.labels
        )
        run = quiet_fit(model, catalog, max_epochs=4, batch_size=48, learning_rate=0.02)
        return [record.terms["classification"] for record in run.history]

    precise = terms()
    with torch.autocast("cpu", torch.bfloat16):
        found = terms()
    assert found == pytest.approx(precise, rel=0.05)
    assert precise[-1] < 0.8 * precise[0]
