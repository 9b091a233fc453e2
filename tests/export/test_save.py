"""Feature files: what they hold, who reads them, and what is refused."""

import sys

import numpy as np
import pytest
import strangers
import toolbox_models
import torch
from safetensors.torch import load_file
from strangers import ITEMS, batch, batch_items, features, labels

from sgfd import distill, paper_student
from sgfd.data import Dataset
from sgfd.export import MMREC, SGFD, save_features, save_safetensors


def exported():
    model = distill(
        strangers.SeparateBuffers(),
        features(),
        labels(),
        student=paper_student,
        loss_method="calculate_loss",
        items=batch_items,
    )
    model.calculate_loss(batch()).backward()
    return model.export()


def test_a_file_holds_row_i_of_item_i_in_float32_and_c_order(tmp_path):
    given = exported() | {"audio": torch.arange(2.0 * ITEMS, dtype=torch.float64).view(2, -1).T}
    paths = save_features(given, tmp_path / "new" / "folder")
    assert paths == {m: tmp_path / "new" / "folder" / f"{m}_feat.npy" for m in given}
    for m, path in paths.items():
        array = np.load(path, allow_pickle=False)
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert np.array_equal(array, given[m].float().numpy())
    assert sorted(p.name for p in paths["image"].parent.iterdir()) == sorted(
        p.name for p in paths.values()
    )  # nothing temporary is left


@pytest.mark.parametrize("pattern", [MMREC, SGFD])
def test_a_dataset_reads_back_what_was_written(pattern, tmp_path):
    given = {m: x.numpy() for m, x in features().items()}  # arrays do too
    save_features(given, tmp_path, pattern=pattern)
    pairs = [(i % 5, i) for i in range(ITEMS)]
    if pattern == MMREC:
        rows = "".join(f"{u}\t{i}\t{(u == 1) + 2 * (u == 2)}\n" for u, i in pairs)
        (tmp_path / "demo.inter").write_text("userID\titemID\tx_label\n" + rows)
    else:
        for name, kept in (("train", {0, 3, 4}), ("valid", {1}), ("test", {2})):
            rows = "".join(f"{u},{i}\n" for u, i in pairs if u in kept)
            (tmp_path / f"{name}.csv").write_text("userID,itemID\n" + rows)
    data = Dataset.load(tmp_path)
    assert data.features.keys() == given.keys()
    for m, x in given.items():
        assert np.array_equal(data.features[m], x)


def test_a_recommender_without_a_layer_trains_on_the_files(tmp_path):
    paths = save_features(exported(), tmp_path)
    tables = {m: torch.from_numpy(np.load(path)) for m, path in paths.items()}

    class OnFiles(strangers.BareParameter):
        def __init__(self):
            super().__init__()
            self.image_feat, self.text_feat = tables["image"], tables["text"]
            self.image_weight = torch.nn.Parameter(torch.randn(strangers.DIM, strangers.DIM))
            self.text_trs = torch.nn.Linear(strangers.DIM, strangers.DIM)

    model = OnFiles()
    model.calculate_loss(batch()).backward()
    assert model.image_weight.grad.abs().max() > 0
    raw, served = toolbox_models.NoTraining(), toolbox_models.NoTraining(tables)
    assert not torch.equal(raw.all_scores, served.all_scores)


def test_files_that_are_there_are_kept_unless_told_otherwise(tmp_path):
    save_features({"text": features()["text"]}, tmp_path)
    before = (tmp_path / "text_feat.npy").read_bytes()
    with pytest.raises(FileExistsError, match=r"text_feat\.npy exists.*overwrite=True"):
        save_features(exported(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["text_feat.npy"]  # nothing was written
    assert (tmp_path / "text_feat.npy").read_bytes() == before
    save_features(exported(), tmp_path, overwrite=True)
    assert (tmp_path / "text_feat.npy").read_bytes() != before


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    save_features(features(), tmp_path)
    before = (tmp_path / "image_feat.npy").read_bytes()

    def fail(file, **options):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "save", fail)
    with pytest.raises(OSError, match="disk full"):
        save_features(features(), tmp_path, overwrite=True)
    assert (tmp_path / "image_feat.npy").read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2


def test_safetensors_keep_names_values_and_dtypes(tmp_path):
    given = exported() | {"half": torch.randn(ITEMS, 3).bfloat16()[:, :2]}
    path = save_safetensors(given, tmp_path / "new" / "features.safetensors")
    read = load_file(path)
    assert read.keys() == given.keys()
    for m, x in given.items():
        assert read[m].dtype == x.dtype
        assert torch.equal(read[m], x)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        save_safetensors(given, path)
    save_safetensors(features(), path, overwrite=True)
    assert torch.equal(load_file(path)["image"], features()["image"])


def test_one_tensor_may_have_two_names(tmp_path):
    x, y = features()["image"], torch.arange(2.0 * ITEMS).view(-1, 2)
    given = {"image": x, "text": x, "sound": y, "part": x[:, 1:]}
    read = load_file(save_safetensors(given, tmp_path / "x.safetensors"))
    assert read.keys() == given.keys()
    assert all(torch.equal(read[m], given[m]) for m in given)


def test_without_safetensors_the_error_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r'pip install "sgfd\[export\]"'):
        save_safetensors(features(), tmp_path / "x.safetensors")


X = torch.ones(3, 2)
REFUSED = [
    ([X], TypeError, "features must be {modality: (num_items, D)}, as model.export() gives"),
    ({}, ValueError, "at least one modality; got none"),
    ({"image": [[1.0]]}, TypeError, "features['image'] must be a tensor or an array; got list"),
    (
        {"image": X[0]},
        ValueError,
        "features['image'] must be (num_items, width) of a floating dtype of 16 bits",
    ),
    ({"image": X[:0]}, ValueError, "must have items and a width; got shape (0, 2)"),
    ({"image": X.long()}, ValueError, "got shape (3, 2) of torch.int64"),
    ({"image": np.ones((3, 2), int)}, ValueError, "16 bits or more; got shape (3, 2) of int64"),
    ({"image": X, "text": X[:2]}, ValueError, "one row per item; got rows {'image': 3, 'text': 2}"),
    ({"image": X / 0}, ValueError, "features['image'] must be finite; 3 of 3 rows are not"),
    ({"image": X.double() * 1e300}, ValueError, "must be finite in float32, which is written"),
    ({"a/b": X}, ValueError, "'a/b' with pattern '{modality}_feat.npy' makes 'a/b_feat.npy'"),
    ({"": X}, ValueError, "A modality's name becomes part of a file name; ''"),
]


@pytest.mark.parametrize(("given", "error", "text"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_item_features_is_refused(given, error, text, tmp_path):
    with pytest.raises(error) as caught:
        save_features(given, tmp_path / "none")
    assert text in str(caught.value)
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("dtype", [">f4", "<f8", np.longdouble, np.float16])
def test_arrays_of_any_precision_and_byte_order_are_written(dtype, tmp_path):
    x = features()["image"].numpy().astype(dtype)
    x.flags.writeable = False
    path = save_features({"image": x[::-1]}, tmp_path)["image"]
    assert np.array_equal(np.load(path), x[::-1].astype(np.float32))
    read = load_file(save_safetensors({"image": x}, tmp_path / "x.safetensors"))["image"]
    assert np.array_equal(read.numpy(), x)


def test_a_file_is_no_folder_and_a_folder_no_file(tmp_path):
    (tmp_path / "file").write_text("kept")
    (tmp_path / "image_feat.npy").mkdir()
    for folder in ("file", "file/below"):
        with pytest.raises(NotADirectoryError, match="file is a file, and was to be a folder"):
            save_features(features(), tmp_path / folder, overwrite=True)
    with pytest.raises(NotADirectoryError, match="file is a file, and was to be a folder"):
        save_safetensors(features(), tmp_path / "file" / "x.safetensors")
    with pytest.raises(
        IsADirectoryError, match=r"image_feat\.npy is a folder, and was to be a file"
    ):
        save_features(features(), tmp_path, overwrite=True)
    with pytest.raises(IsADirectoryError, match="is a folder, and was to be a file"):
        save_safetensors(features(), tmp_path, overwrite=True)
    assert (tmp_path / "file").read_text() == "kept"
    assert len(list(tmp_path.iterdir())) == 2  # nothing was written


def test_a_pattern_without_the_modality_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"pattern must have '\{modality\}' in it; got 'x\.npy'"):
        save_features(features(), tmp_path, pattern="x.npy")
