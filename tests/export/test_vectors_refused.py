"""Vectors that are not written, and files that are not read."""

import hashlib
import io
import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from sgfd.export import load_vectors, save_vectors


def save(folder, **options):
    users, items, image = (torch.randn(rows, 3) for rows in (5, 7, 7))
    return save_vectors(folder, (users, items), features={"image": image}, **options)


X = torch.ones(3, 2)
REFUSED = [
    ({}, ValueError, "save_vectors needs vectors, features or both; got neither"),
    ({"features": {}}, ValueError, "at least one modality; got none"),
    ({"vectors": X}, TypeError, "vectors must be a pair, users (num_users, D) and items"),
    ({"vectors": (X,)}, TypeError, "vectors must be a pair"),
    ({"vectors": (X, X[:, :1])}, ValueError, "of one width, that of their inner product; got 2"),
    ({"vectors": (X, X / 0)}, ValueError, "items must be finite; 3 of 3 rows are not"),
    ({"vectors": (X.long(), X)}, ValueError, "users must be (num_items, width) of a floating"),
    (
        {"vectors": (X, X), "features": {"image": X[:2]}},
        ValueError,
        "per item; got rows {'items.safetensors': 3, 'image_feat.safetensors': 2}",
    ),
    ({"features": {"a/b": X}}, ValueError, "becomes part of a file name; 'a/b'"),
    ({"features": {"image": X}, "user_ids": [1, 2, 3]}, ValueError, "user_ids name the rows of"),
    ({"features": {"image": X}, "item_ids": [1, 2]}, ValueError, "each of the 3 rows"),
    ({"features": {"image": X}, "item_ids": [1, 2, 1]}, ValueError, "got 3 ids, 2 of them diff"),
    ({"features": {"image": X}, "item_ids": [1, 2, 0.5]}, TypeError, "strings or integers"),
    ({"features": {"image": X}, "item_ids": "abc"}, TypeError, "strings or integers"),
    ({"vectors": (X.double() * 1e300, X.double()), "npy": True}, ValueError, "users in float32"),
]


@pytest.mark.parametrize(("given", "error", "text"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_vectors_is_refused_and_nothing_written(given, error, text, tmp_path):
    with pytest.raises(error) as caught:
        save_vectors(tmp_path / "none", **given)
    assert text in str(caught.value)
    assert not (tmp_path / "none").exists()


def cut(folder):
    path = folder / "items.npy"
    path.write_bytes(path.read_bytes()[:-4])


def flip(folder):
    path = folder / "items.npy"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def forge(folder, **changes):
    """A card whose checksum fits what it should not."""
    card = json.loads((folder / "card.json").read_text())
    data = (folder / "items.npy").read_bytes()
    seal = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    card["files"]["items.npy"] |= {**seal, **changes}
    (folder / "card.json").write_text(json.dumps(card))


def pickled(folder):
    array = np.empty(7, dtype=object)
    array[:] = [{"a": 1}] * 7
    np.save(folder / "items.npy", array, allow_pickle=True)
    forge(folder)


def archive(folder):
    file = io.BytesIO()
    np.savez(file, items=np.ones((7, 3), np.float32))
    (folder / "items.npy").write_bytes(file.getvalue())
    forge(folder)


def bare_pickle(folder):
    (folder / "items.npy").write_bytes(pickle.dumps(np.ones((7, 3), np.float32)))
    forge(folder)


def card_of(text):
    return lambda folder: (folder / "card.json").write_text(text)


def listed(name):
    def change(folder):
        card = json.loads((folder / "card.json").read_text())
        card["files"][name] = card["files"]["items.npy"]
        (folder / "card.json").write_text(json.dumps(card))

    return change


def fewer_rows(folder):
    card = json.loads((folder / "card.json").read_text())
    card["num_rows"]["items"] = 6
    (folder / "card.json").write_text(json.dumps(card))


def no_list(folder):
    (folder / "item_ids.json").write_text("7")
    card = json.loads((folder / "card.json").read_text())
    seal = {"bytes": 1, "sha256": hashlib.sha256(b"7").hexdigest()}
    card["files"]["item_ids.json"] |= seal
    (folder / "card.json").write_text(json.dumps(card))


DAMAGE = [
    (cut, ValueError, "items.npy must have 212 bytes, as its card says; got 208"),
    (flip, ValueError, "items.npy must have the checksum that its card says"),
    (lambda f: (f / "items.npy").unlink(), FileNotFoundError, "items.npy is not there, and its"),
    (lambda f: (f / "card.json").unlink(), FileNotFoundError, "card.json is not there"),
    (shutil.rmtree, FileNotFoundError, "card.json is not there"),
    (card_of("{"), ValueError, "card.json must be a card in JSON"),
    (card_of("[]"), ValueError, "must be a card of kind 'sgfd vectors', version 1; got kind None"),
    (
        card_of('{"kind": "sgfd vectors", "version": 2}'),
        ValueError,
        "version 1; got kind 'sgfd vectors', version 2",
    ),
    (
        card_of('{"kind": "sgfd vectors", "version": 1}'),
        ValueError,
        "must be a card as save_vectors writes it; it is not: KeyError('files')",
    ),
    (lambda f: forge(f, shape=[7, 4]), ValueError, "must hold [7, 4] of torch.float32"),
    (lambda f: forge(f, dtype="float16"), ValueError, "of torch.float16, as its card says; got"),
    (fewer_rows, ValueError, "must have 6 rows, one for each of the items"),
    (pickled, ValueError, "cannot be read as what its name says"),
    (bare_pickle, ValueError, "cannot be read as what its name says"),
    (archive, ValueError, "cannot be read as what its name says"),
    (listed("../items.npy"), ValueError, "files in its own folder; got '../items.npy'"),
    (listed("..\\items.npy"), ValueError, "files in its own folder"),
    (no_list, ValueError, "item_ids.json must be a JSON list of ids"),
]


@pytest.mark.parametrize(("damage", "error", "text"), DAMAGE, ids=range(len(DAMAGE)))
def test_what_does_not_fit_its_card_is_refused_with_the_reason(damage, error, text, tmp_path):
    folder = tmp_path / "saved"
    save(folder, npy=True, item_ids=range(7))
    assert (folder / "items.npy").stat().st_size == 212
    load_vectors(folder)
    damage(folder)
    with pytest.raises(error) as caught:
        load_vectors(folder)
    assert text in str(caught.value)


@pytest.mark.parametrize("at", [0, 20, -1])
def test_a_flipped_byte_anywhere_in_a_safetensors_file_is_found(at, tmp_path):
    save(tmp_path)
    path = tmp_path / "users.safetensors"
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    with pytest.raises(ValueError, match="must have the checksum"):
        load_vectors(tmp_path)


def test_a_modality_called_items_must_have_the_items_rows_too(tmp_path):
    vectors, others = (torch.ones(3, 2), torch.ones(4, 2)), {"items": torch.ones(9, 5)}
    with pytest.raises(ValueError, match="one row per item; got rows .*4.*9"):
        save_vectors(tmp_path, vectors, features=others)
    assert not list(tmp_path.iterdir())
