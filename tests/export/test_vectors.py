"""Vectors and features with their card: what is written, read back and refused."""

import datetime as dt
import hashlib
import json
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import sgfd
from sgfd.export import load_vectors, save_vectors


def tables(dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    shapes = {"users": (5, 3), "items": (7, 3), "image": (7, 4), "text": (7, 2)}
    return {name: torch.randn(s, generator=generator).to(dtype) for name, s in shapes.items()}


def save(folder, dtype=torch.float32, **options):
    t = tables(dtype)
    features = {"image": t["image"], "text": t["text"]}
    return save_vectors(folder, (t["users"], t["items"]), features=features, **options)


@pytest.mark.parametrize("npy", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_was_written_is_read_back(npy, dtype, tmp_path):
    ids = {"user_ids": list("abcde"), "item_ids": np.arange(7) * 10}
    card = save(tmp_path / "new" / "folder", dtype, npy=npy, **ids)
    found, given = load_vectors(card.parent), tables(dtype)
    written = torch.float32 if npy else dtype
    for x, name in ((found.users, "users"), (found.items, "items"), *_pairs(found.features)):
        assert x.dtype == written
        assert torch.equal(x, given[name].to(written))
    assert list(found.features) == ["image", "text"]
    assert found.user_ids == tuple("abcde")
    assert found.item_ids == (0, 10, 20, 30, 40, 50, 60)


def _pairs(features):
    return [(x, m) for m, x in features.items()]


def test_any_reader_of_the_two_formats_reads_the_files(tmp_path):
    save(tmp_path / "tensors")
    save(tmp_path / "arrays", npy=True)
    for name, file in (("users", "users"), ("items", "items"), ("text", "text_feat")):
        tensors = load_file(tmp_path / "tensors" / f"{file}.safetensors")
        array = np.load(tmp_path / "arrays" / f"{file}.npy", allow_pickle=False)
        assert tensors.keys() == {name}
        assert torch.equal(tensors[name], tables()[name])
        assert np.array_equal(array, tables()[name].numpy())


def test_the_card_says_what_each_file_is(tmp_path):
    path = save(tmp_path)
    card = json.loads(path.read_text())
    assert path == tmp_path / "card.json"
    assert card["sgfd"] == sgfd.__version__
    assert card["torch"] == torch.__version__
    assert card["date"] is None
    assert card["modalities"] == ["image", "text"]
    assert card["scores"] == "users @ items.T"
    assert card["num_rows"] == {"users": 5, "items": 7}
    assert card["rows"]["items"].startswith("7 rows: number n is number n of the items")
    assert card["files"].keys() == {p.name for p in tmp_path.iterdir()} - {"card.json"}
    image = (tmp_path / "image_feat.safetensors").read_bytes()
    assert card["files"]["image_feat.safetensors"] == {
        "holds": "features",
        "name": "image",
        "rows": "items",
        "shape": [7, 4],
        "dtype": "float32",
        "bytes": len(image),
        "sha256": hashlib.sha256(image).hexdigest(),
    }
    assert load_vectors(tmp_path).card == card


@pytest.mark.parametrize("npy", [False, True])
def test_the_same_vectors_give_the_same_bytes(npy, tmp_path):
    for folder in ("a", "b"):
        save(tmp_path / folder, npy=npy, user_ids=["ä", *"bcde"])
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    save(tmp_path / "a", npy=npy, date=dt.date(2026, 1, 2), overwrite=True)
    assert load_vectors(tmp_path / "a").card["date"] == "2026-01-02"


def test_features_and_vectors_may_each_be_alone(tmp_path):
    t = tables()
    save_vectors(tmp_path / "features", features={"users": t["image"]}, item_ids=range(7))
    found = load_vectors(tmp_path / "features")
    assert found.users is None
    assert found.items is None
    assert found.user_ids is None
    assert torch.equal(found.features["users"], t["image"])  # a modality of that name is one
    assert found.card["scores"] is None
    save_vectors(tmp_path / "vectors", (t["users"].numpy(), t["items"].numpy()), npy=True)
    found = load_vectors(tmp_path / "vectors")
    assert found.features == {}
    assert torch.equal(found.users, t["users"])


def test_what_is_there_is_kept_unless_told_otherwise(tmp_path):
    save(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"card\.json exist.*overwrite=True"):
        save_vectors(tmp_path, features={"audio": torch.ones(2, 2)})
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file, and was to be a folder"):
        save(tmp_path / "file")


def test_a_kill_while_overwriting_leaves_a_mixture_that_is_refused(tmp_path, monkeypatch):
    save(tmp_path)

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("sgfd.export._vectors.write_card", killed)
    with pytest.raises(KeyboardInterrupt):
        save_vectors(tmp_path, (torch.ones(5, 3), torch.ones(7, 3)), overwrite=True)
    with pytest.raises(ValueError, match=r"users\.safetensors must have the checksum"):
        load_vectors(tmp_path)


def test_without_safetensors_numpy_files_remain(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r'pip install "sgfd\[export\]".*npy=True'):
        save(tmp_path / "none")
    assert not (tmp_path / "none").exists()
    save(tmp_path, npy=True)
    assert torch.equal(load_vectors(tmp_path).users, tables()["users"])
