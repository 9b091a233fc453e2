"""Features written while they are read: to the byte what was held at once before."""

import re

import numpy as np
import pytest
import streamed
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from sgfd import FeatureStudent, distill
from sgfd.backbones import VBPR
from sgfd.data import synthetic_catalog
from sgfd.export import SGFD, save_features, stream_features


@pytest.mark.parametrize("chunk_size", [1, 16, streamed.ITEMS, 5000])
def test_the_files_are_those_of_the_export_to_the_byte(chunk_size, tmp_path):
    model = streamed.model(tmp_path)

    written = stream_features(model, tmp_path / "new" / "out", chunk_size=chunk_size)

    saved = save_features(model.export(chunk_size=chunk_size), tmp_path / "saved")
    assert written.keys() == saved.keys() == {"image", "text"}
    for m, path in written.items():
        assert path.name == saved[m].name
        assert path.read_bytes() == saved[m].read_bytes()
    assert len(list((tmp_path / "new" / "out").iterdir())) == 2  # no temporary file stays


def test_the_default_chunk_is_that_of_export(tmp_path):
    data = synthetic_catalog(num_users=30, num_items=2500)
    model = distill(VBPR(data.train, data.features, dim=8), data.features, data.labels)
    paths = stream_features(model, tmp_path, pattern=SGFD)
    assert paths["text"] == tmp_path / "Featuretext_normal.npy"
    for m, x in model.export().items():
        assert np.array_equal(np.load(paths[m]), x.numpy())


def test_features_read_live_from_the_recommender_are_streamed_too(tmp_path):
    class OwnTable(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(50, 7)
            self.layer = torch.nn.Linear(7, 3)

        def loss(self, items):
            return self.layer(self.table(items)).square().mean()

    labels = torch.arange(50) % 4
    model = distill(OwnTable(), {"x": "table"}, labels, projections={"x": "layer"})
    plain = model.export(chunk_size=8)["x"].numpy()
    path = stream_features(model, tmp_path, chunk_size=8)["x"]
    assert np.array_equal(np.load(path), plain)
    model.student("x").register_forward_hook(lambda _, __, out: out + 1)
    path = stream_features(model, tmp_path, chunk_size=8, overwrite=True)["x"]
    assert np.array_equal(np.load(path), plain + 1)


@pytest.mark.parametrize("dtype", [np.float16, "float64", ">f4"])
def test_the_dtype_is_the_one_asked_for(dtype, tmp_path):
    model = streamed.model(tmp_path)
    written = np.load(stream_features(model, tmp_path / "out", dtype=dtype)["image"])
    assert written.dtype == dtype
    assert np.array_equal(written, model.export()["image"].numpy().astype(dtype))


def test_a_model_of_bfloat16_is_written_in_float32(tmp_path):
    model = streamed.model(tmp_path).bfloat16()
    written = np.load(stream_features(model, tmp_path / "out")["text"])
    assert written.dtype == np.float32
    assert np.array_equal(written, model.export()["text"].float().numpy())


class Longest(TorchDispatchMode):
    """The most rows of items that any operation had in hand."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and result.ndim == 2:
            self.rows = max(self.rows, len(result))
        return result


def test_no_more_than_a_chunk_of_features_is_held(tmp_path):
    data = synthetic_catalog(num_users=30, num_items=3000, widths={"image": 4})
    np.save(tmp_path / "x.npy", data.features["image"])
    maps = {"image": np.load(tmp_path / "x.npy", mmap_mode="r")}
    model = distill(VBPR(data.train, maps, dim=2), maps, data.labels)
    with Longest() as longest:
        stream_features(model, tmp_path, chunk_size=64)
    assert 0 < longest.rows <= 64


def test_files_that_are_there_are_kept_unless_told_otherwise(tmp_path):
    model = streamed.model(tmp_path)
    (tmp_path / "text_feat.npy").write_text("kept")
    with pytest.raises(FileExistsError, match=r"text_feat\.npy exists.*overwrite=True"):
        stream_features(model, tmp_path)
    assert (tmp_path / "text_feat.npy").read_text() == "kept"
    assert not (tmp_path / "image_feat.npy").exists()
    paths = stream_features(model, tmp_path, overwrite=True)
    assert np.load(paths["text"]).shape == (streamed.ITEMS, 5)


def test_what_breaks_off_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    model = streamed.model(tmp_path)
    before = stream_features(model, tmp_path / "out")["image"].read_bytes()
    forward, calls = FeatureStudent.forward, []

    def fail(self, x):
        calls.append(len(x))
        if len(calls) == 3:
            raise RuntimeError("the machine was needed")
        return forward(self, x) + 1

    monkeypatch.setattr(FeatureStudent, "forward", fail)
    with pytest.raises(RuntimeError, match="the machine was needed"):
        stream_features(model, tmp_path / "out", chunk_size=16, overwrite=True)
    assert calls == [16, 16, 16]
    assert (tmp_path / "out" / "image_feat.npy").read_bytes() == before
    assert len(list((tmp_path / "out").iterdir())) == 2


def test_a_progress_bar_is_shown_when_asked_for(tmp_path, capfd):
    model = streamed.model(tmp_path)
    stream_features(model, tmp_path / "out")
    assert capfd.readouterr().err == ""
    stream_features(model, tmp_path / "out", overwrite=True, progress=True)
    assert "image: 100%" in capfd.readouterr().err


REFUSED = [
    ({"chunk_size": 0}, "chunk_size must be an integer of at least 1; got 0."),
    ({"dtype": "int32"}, "dtype must be float16, float32 or float64 of NumPy; got 'int32'."),
    ({"dtype": torch.float32}, "of NumPy; got torch.float32."),
    ({"pattern": "x.npy"}, "pattern must have '{modality}' in it; got 'x.npy'."),
    ({"part": 2}, "part must be (rank, world), e.g. (0, 4); got 2."),
    ({"part": (2, 2)}, "rank, the first of part, must be an integer of at least 0 and below 2"),
    ({"part": (0, 0)}, "world, the second of part, must be an integer of at least 1; got 0."),
]


@pytest.mark.parametrize(("options", "text"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_written_is_refused_before_anything_is(options, text, tmp_path):
    with pytest.raises(ValueError, match=re.escape(text)):
        stream_features(streamed.model(tmp_path), tmp_path / "none", **options)
    assert not (tmp_path / "none").exists()


def test_features_too_large_for_the_dtype_are_refused_by_item(tmp_path):
    model = streamed.model(tmp_path)
    with torch.no_grad():
        model.backbone.projections["text"].bias.fill_(1e6)
    with pytest.raises(ValueError, match=r"'text' must be finite in float16.* item 0 are not"):
        stream_features(model, tmp_path / "out", dtype=np.float16)
    assert not (tmp_path / "out" / "text_feat.npy").exists()


def test_a_model_that_is_not_distilled_is_refused(tmp_path):
    data = synthetic_catalog(num_users=30, num_items=20)
    with pytest.raises(TypeError, match=r"needs what distill\(\) returns.* got VBPR"):
        stream_features(VBPR(data.train, data.features), tmp_path)
