"""Several labels per item, and several levels of them, on real data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sgfd import balanced_class_weights, distill, hierarchy
from sgfd.backbones import VBPR
from sgfd.data import Dataset, PairSampler

pytestmark = pytest.mark.data


def one_epoch(model, data, *, batch_size):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    sampler = PairSampler(data.train, batch_size=batch_size, num_negatives=1)
    everything = torch.arange(data.num_items)
    before = model.distillation_terms(everything)
    for batch in sampler.epoch(0):
        optimizer.zero_grad()
        model(batch).backward()
        optimizer.step()
    return before, model.distillation_terms(everything)


def test_the_genres_of_ml1m_are_learned_in_an_epoch_of_vbpr(data_dir: Path) -> None:
    folder = data_dir / "ml1m"
    genres = np.load(folder / "GenreMultiHot.npy")
    data = Dataset.load(folder, modalities=["Text"], labels=genres)
    assert "18 classes, 1.7 per item, 0.0% of items unlabeled" in data.summary()
    model = distill(VBPR(data.train, data.features, dim=16), data.features, data.labels)
    before, after = one_epoch(model, data, batch_size=8192)
    rates = genres.mean(0)
    base = -(rates * np.log(rates) + (1 - rates) * np.log(1 - rates)).sum()
    assert before.classification > base > after.classification
    assert balanced_class_weights(genres).shape == (18,)


def test_two_levels_of_office_are_learned_with_gaps_in_a_modality(data_dir: Path) -> None:
    folder = data_dir / "office"
    main, leaf = (np.load(folder / f"MetaData_{name}.npy") for name in ("normal", "leaf"))
    data = Dataset.load(folder, modalities=["Title", "Desc"])
    desc = data.features["Desc"].copy()
    desc[::5] = np.nan
    features = {"Title": data.features["Title"], "Desc": desc}
    model = distill(VBPR(data.train, features, dim=16), features, {"main": main, "leaf": leaf})
    assert model.teacher.num_classes == 27 + 115
    assert model.missing()["Desc"].sum() == len(desc[::5])
    before, after = one_epoch(model, data, batch_size=512)

    def at_base_rates(y):
        rates = np.bincount(y) / len(y)
        return -(rates[rates > 0] * np.log(rates[rates > 0])).sum()

    base = (at_base_rates(main) + at_base_rates(leaf)) / 2
    assert before.classification > base > after.classification
    levels = hierarchy((27, 115))
    items, y = torch.arange(data.num_items), torch.from_numpy(np.stack([main, leaf], axis=1))
    present = {"Desc": ~model.missing()["Desc"]}
    x = {m: torch.from_numpy(np.nan_to_num(v)) for m, v in features.items()}
    z = model.teacher(x, present).fused_logits
    torch.testing.assert_close(
        model.distillation_terms(items).fusion, levels.classification(z, y).mean(0).sum()
    )
