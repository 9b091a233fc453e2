"""What ``fit`` refuses, and what it leaves as it was."""

import importlib
import logging
import os
import random
import signal
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning import Callback
from torch import Tensor, nn
from training.small_models import NoisyMF, StopAfter, quiet_fit, small_catalog

from sgfd.backbones import Batch
from sgfd.data import Dataset


def test_global_state_is_left_as_it_was(catalog: Dataset, noisy: NoisyMF, tmp_path: Path) -> None:
    def state() -> list[Any]:
        return [
            random.getstate(),
            str(np.random.get_state()),  # noqa: NPY002
            torch.get_rng_state().tolist(),
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_float32_matmul_precision(),
            torch.get_default_dtype(),
            [logging.getLogger(name).level for name in ("", "lightning", "lightning.pytorch")],
            list(warnings.filters),
            signal.getsignal(signal.SIGTERM),
            signal.getsignal(signal.SIGINT),
            sorted(os.environ.items()),
        ]

    random.seed(3)
    np.random.seed(4)  # noqa: NPY002
    torch.manual_seed(5)
    before = state()
    with torch.no_grad():
        quiet_fit(noisy, catalog, max_epochs=1, directory=tmp_path)
        assert not torch.is_grad_enabled()
    assert state() == before


def test_global_state_is_left_as_it_was_after_an_error(catalog: Dataset, noisy: NoisyMF) -> None:
    torch.manual_seed(5)
    before, levels = torch.get_rng_state(), logging.getLogger("lightning.pytorch").level
    with pytest.raises(InterruptedError):
        quiet_fit(noisy, catalog, max_epochs=1, callbacks=[StopAfter(1)])
    assert torch.equal(torch.get_rng_state(), before)
    assert logging.getLogger("lightning.pytorch").level == levels


def test_an_interrupt_from_the_keyboard_stays_one(catalog: Dataset, noisy: NoisyMF) -> None:
    # A shell ignores it in what it runs in the background.
    outside = signal.signal(signal.SIGINT, signal.default_int_handler)

    class Press(Callback):
        def on_train_batch_end(self, *_: Any) -> None:
            signal.raise_signal(signal.SIGINT)

    try:
        with pytest.raises(KeyboardInterrupt):
            quiet_fit(noisy, catalog, max_epochs=1, callbacks=[Press()])
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outside)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_epochs": 0}, "max_epochs must be an integer of at least 1; got 0"),
        ({"patience": 0}, "patience must be an integer of at least 1; got 0"),
        ({"checkpoint_every": 0}, "checkpoint_every must be an integer of at least 1"),
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({"num_negatives": -1}, "num_negatives must be an integer of at least 0; got -1"),
        ({"seed": -1}, "seed must be an integer of at least 0 and below 4294967296; got -1"),
        ({"seed": 2**32}, "seed must be an integer of at least 0 and below"),
        ({"monitor": "ndcg@5"}, r"monitor must be one of \['recall@10', .*; got 'ndcg@5'"),
        ({"monitor": "auc"}, "monitor must be one of"),
        ({"ks": (20, 41)}, r"ks must be at most the number of items \(40\); got \(20, 41\)"),
    ],
)
def test_settings_out_of_range_are_errors(
    catalog: Dataset, noisy: NoisyMF, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        quiet_fit(noisy, catalog, **{"max_epochs": 1} | settings)


def test_a_model_of_other_sizes_is_an_error(catalog: Dataset) -> None:
    with pytest.raises(ValueError, match="agree in num_users; got 51 and 50"):
        quiet_fit(NoisyMF(51, catalog.num_items), catalog, max_epochs=1)
    with pytest.raises(ValueError, match="agree in num_items; got 39 and 40"):
        quiet_fit(NoisyMF(catalog.num_users, 39), catalog, max_epochs=1)


def test_a_model_without_scores_is_an_error(catalog: Dataset) -> None:
    with pytest.raises(TypeError, match=r"needs a model with scores\(users\).*Linear has none"):
        quiet_fit(nn.Linear(2, 3), catalog, max_epochs=1)


def test_a_dataset_without_validation_pairs_is_an_error(catalog: Dataset, noisy: NoisyMF) -> None:
    empty = Dataset(catalog.train, catalog.valid * 0, catalog.test, catalog.features)
    empty.valid.eliminate_zeros()
    with pytest.raises(ValueError, match=r"dataset\.valid must hold pairs"):
        quiet_fit(noisy, empty, max_epochs=1)


def test_a_loss_that_is_not_a_scalar_is_an_error(catalog: Dataset) -> None:
    class Wrong(NoisyMF):
        def forward(self, batch: Batch) -> Tensor:
            return self.users[batch.users].sum(-1)

    with pytest.raises(TypeError, match=r"must be the training loss, a scalar.*gave \(48,\)"):
        quiet_fit(Wrong(catalog.num_users, catalog.num_items), catalog, max_epochs=1, batch_size=48)


def test_a_loss_that_is_not_finite_is_an_error_that_says_where(
    catalog: Dataset, tmp_path: Path
) -> None:
    class Diverging(NoisyMF):
        calls = 0

        def forward(self, batch: Batch) -> Tensor:
            self.calls += 1
            return super().forward(batch) * (float("nan") if self.calls == 9 else 1)

    model = Diverging(catalog.num_users, catalog.num_items)
    with pytest.raises(FloatingPointError, match=r"in epoch 1, batch 2, they are {'total': nan"):
        quiet_fit(model, catalog, max_epochs=2, batch_size=48, directory=tmp_path)
    # The checkpoint is from before.
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert saved["state_dict"]["model.users"].isfinite().all()


def test_without_lightning_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "sgfd.training")
    with pytest.raises(ImportError, match=r'pip install "sgfd\[train\]"'):
        importlib.import_module("sgfd.training")


def test_the_catalog_of_these_tests_has_six_batches_of_48() -> None:
    assert 5 * 48 < small_catalog().train.nnz <= 6 * 48
