"""``fit`` with sparse embeddings and rows read ahead, whole and in parts."""

import re

import numpy as np
import pytest
import torch
from training.small_models import StopAfter, quiet_fit

from sgfd import distill
from sgfd.backbones import MAML, VBPR, LazyAdam
from sgfd.training import RecommenderModule


@pytest.fixture
def maps(catalog, tmp_path):
    for m, x in catalog.features.items():
        np.save(tmp_path / f"{m}.npy", x.astype(np.float16))
    return {m: np.load(tmp_path / f"{m}.npy", mmap_mode="r") for m in catalog.features}


def model_of(kind, catalog, features, *, sparse=True):
    return distill(
        kind(catalog.train, features, dim=4, sparse=sparse), features, catalog.labels, seed=2
    )


SETTINGS = {"max_epochs": 3, "batch_size": 64, "learning_rate": 0.01, "patience": None}


def loaded(path):
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.mark.parametrize("kind", [VBPR, MAML])
def test_rows_read_ahead_change_neither_numbers_nor_checkpoints(kind, catalog, maps, tmp_path):
    kept = []
    for ahead in (0, 2):
        model, folder = model_of(kind, catalog, maps), tmp_path / str(ahead)
        result = quiet_fit(
            model, catalog, **SETTINGS, prefetch=ahead, directory=folder, tensorboard=False
        )
        data = loaded(folder / "last.ckpt")["InteractionDataModule"]
        kept.append((model.state_dict(), [r.terms for r in result.history], data))
    torch.testing.assert_close(kept[0], kept[1], rtol=0, atol=0)


@pytest.mark.parametrize("ahead", [0, 2])
def test_an_interrupted_run_ends_as_the_whole_one(ahead, catalog, maps, tmp_path):
    whole = model_of(VBPR, catalog, maps)
    settings = {**SETTINGS, "tensorboard": False, "checkpoint_every": 2}
    quiet_fit(whole, catalog, **settings, directory=tmp_path / "whole")
    settings |= {"directory": tmp_path / "parts", "prefetch": ahead}
    parts = model_of(VBPR, catalog, maps)
    with pytest.raises(InterruptedError):
        quiet_fit(parts, catalog, **settings, callbacks=[StopAfter(7)])
    parts = model_of(VBPR, catalog, maps)
    quiet_fit(parts, catalog, **settings, resume=True)
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), rtol=0, atol=0)
    one, other = (loaded(tmp_path / name / "last.ckpt") for name in ("whole", "parts"))
    torch.testing.assert_close(one["optimizer_states"], other["optimizer_states"], rtol=0, atol=0)


def test_sparse_embeddings_are_trained_by_lazy_adam_and_others_are_not(catalog, maps):
    for sparse, kind in ((True, LazyAdam), (False, torch.optim.Adam)):
        module = RecommenderModule(model_of(VBPR, catalog, maps, sparse=sparse), learning_rate=0.3)
        optimizer = module.configure_optimizers()
        assert type(optimizer) is kind
        assert {group["lr"] for group in optimizer.param_groups} == {0.3}


def test_a_run_of_the_other_kind_is_not_resumed(catalog, maps, tmp_path):
    settings = {**SETTINGS, "max_epochs": 1, "directory": tmp_path / "run", "tensorboard": False}
    quiet_fit(model_of(VBPR, catalog, maps), catalog, **settings)
    with pytest.raises(ValueError, match=re.escape("optimizer was LazyAdam, is Adam")):
        quiet_fit(model_of(VBPR, catalog, maps, sparse=False), catalog, **settings, resume=True)


def test_prefetch_out_of_range_is_named(catalog, maps):
    with pytest.raises(ValueError, match="prefetch must be an integer of at least 0; got -1"):
        quiet_fit(model_of(VBPR, catalog, maps), catalog, **SETTINGS, prefetch=-1)
