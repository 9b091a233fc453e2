"""Real datasets, where they are: sizes and counts that are known from elsewhere."""

from math import floor
from pathlib import Path

import numpy as np
import pytest

from sgfd.data import Dataset, PairSampler

pytestmark = pytest.mark.data


def test_office_has_its_known_sizes_and_an_item_only_in_test(data_dir: Path) -> None:
    data = Dataset.load(data_dir / "office", modalities=["Title", "Desc"])
    assert (data.num_users, data.num_items, data.num_classes) == (4874, 2406, 27)
    assert data.widths == {"Title": 384, "Desc": 384}
    assert list(data.features) == ["Title", "Desc"]
    assert data.seen.nnz == 37_027
    assert data.test.nnz == 15_930
    assert data.seen[:, [2405]].nnz == 0
    assert data.test[:, [2405]].nnz > 0
    assert data.labels is not None
    assert np.bincount(data.labels).max() / 2406 == pytest.approx(0.155, abs=5e-4)
    assert data.label_names[0] == "Binders & Binding Systems"
    assert any(note.startswith("test: 362 of 4,874 users") for note in data.notes)


def test_the_carve_of_office_gives_each_user_its_tenth(data_dir: Path) -> None:
    whole = Dataset.load(data_dir / "office", modalities=["Title"], valid_fraction=0)
    first, again, other = (
        Dataset.load(data_dir / "office", modalities=["Title"], seed=seed) for seed in (0, 0, 1)
    )
    expected = [min(floor(n / 10 + 0.5), n - 1) for n in whole.train.sum(axis=1).astype(int)]
    assert first.valid.sum(axis=1).tolist() == expected
    assert (first.seen != whole.train).nnz == 0
    assert (first.valid != again.valid).nnz == 0
    assert (first.valid != other.valid).nnz > 0


def test_ml1m_has_its_known_sizes(data_dir: Path) -> None:
    data = Dataset.load(data_dir / "ml1m")
    assert (data.num_users, data.num_items, data.num_classes) == (6040, 3287, 18)
    assert data.widths == {"Image": 1280, "Text": 384}
    assert data.seen.nnz == 801_201
    assert data.test.nnz == 197_302
    assert data.train.multiply(data.test).nnz == 0


def test_negatives_of_ml1m_are_unseen(data_dir: Path) -> None:
    data = Dataset.load(data_dir / "ml1m", modalities=["Text"])
    sampler = PairSampler(data.train, batch_size=2048, num_negatives=4, seed=1)
    visited = 0
    for batch in sampler.epoch(0):
        users = batch.users.numpy().repeat(4)
        negatives = batch.negatives.numpy().flatten()
        assert data.train[users, negatives].sum() == 0
        visited += len(batch.users)
    assert visited == data.train.nnz


def test_tiktok_has_its_own_validation_part_and_cold_items(data_dir: Path) -> None:
    data = Dataset.load(data_dir / "tiktok")
    assert (data.num_users, data.num_items) == (9308, 6710)
    assert (data.train.nnz, data.valid.nnz, data.test.nnz) == (59_541, 3_051, 6_130)
    assert data.widths == {"Audio": 128, "Image": 128}
    assert data.labels is None
    assert "train: 10 users and 465 items occur in no training pair" in data.notes
    assert not any("carved" in note for note in data.notes)
