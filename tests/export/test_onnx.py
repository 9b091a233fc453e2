"""Students as ONNX graphs: what ``encode`` gives, without torch."""

import subprocess
import sys
from functools import partial

import numpy as np
import onnxruntime
import pytest
import strangers
import torch
from torch import nn

from sgfd import FeatureStudent, distill, paper_student
from sgfd.backbones import VBPR
from sgfd.data import synthetic_catalog
from sgfd.export import save_onnx

DATA = synthetic_catalog(num_users=60, num_items=90, widths={"image": 24, "text": 9})


def distilled(student=FeatureStudent.adopt, features=None):
    features = {"image": DATA.features["image"]} if features is None else features
    return distill(
        VBPR(DATA.train, features, dim=5, seed=1),
        features,
        DATA.labels,
        num_classes=10,
        student=student,
    )


def run(path, x):
    session = onnxruntime.InferenceSession(path)
    return torch.from_numpy(session.run(["distilled"], {"raw": x.numpy()})[0])


def new_items(rows=7, width=24):
    return torch.randn(rows, width, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "student",
    [paper_student, partial(FeatureStudent.adopt, activation=nn.PReLU(5, 0.3))],
)
def test_a_graph_gives_what_encode_gives_for_any_number_of_items(student, tmp_path):
    model = distilled(student, DATA.features)
    paths = save_onnx(model, tmp_path / "new" / "folder")
    assert paths == {m: tmp_path / "new" / "folder" / f"{m}.onnx" for m in ("image", "text")}
    for rows in (0, 1, 2, 33):
        for m, width in (("image", 24), ("text", 9)):
            x = new_items(rows, width)
            expected = model.encode({m: x})[m]
            torch.testing.assert_close(run(paths[m], x), expected, rtol=0, atol=1e-5)
    assert sorted(p.name for p in paths["image"].parent.iterdir()) == ["image.onnx", "text.onnx"]


@pytest.mark.parametrize("gaps", [False, True])
def test_a_missing_row_is_filled_within_the_graph(gaps, tmp_path):
    features = {"image": DATA.features["image"].copy()}
    if gaps:
        features["image"][::3] = np.nan
    model = distilled(paper_student, features)
    path, x = save_onnx(model, tmp_path)["image"], new_items()
    x[3] = torch.nan
    expected = model.encode({"image": x})["image"]
    assert expected.isfinite().all()
    torch.testing.assert_close(run(path, x), expected, rtol=0, atol=1e-5)
    x[5, 2] = torch.nan  # encode refuses this; a graph can only hand it on
    found = run(path, x)
    assert found[5].isnan().all()
    assert torch.equal(found.isnan().any(1), torch.arange(7) == 5)


def test_live_features_and_memory_maps_have_their_own_mean(tmp_path):
    model = distill(
        strangers.TrainableEmbedding(),
        {"image": "image_embedding", "text": "text_feat"},
        strangers.labels(),
        loss_method="calculate_loss",
        items=strangers.batch_items,
    )
    np.save(tmp_path / "x.npy", DATA.features["image"])
    mapped = {"image": np.load(tmp_path / "x.npy", mmap_mode="r")}
    masked = distill(
        strangers.SeparateBuffers(),
        strangers.features(),
        strangers.labels(),
        missing={"image": torch.arange(strangers.ITEMS) < 6},
    )
    models = (("live", model, 10), ("map", distilled(features=mapped), 24), ("mask", masked, 10))
    for name, other, width in models:
        x = torch.full((2, width), torch.nan)
        x[0] = 0.5
        found = run(save_onnx(other, tmp_path / name)["image"], x)
        torch.testing.assert_close(found, other.encode({"image": x})["image"], rtol=0, atol=1e-5)


def test_a_graph_runs_without_torch(tmp_path):
    model, x = distilled(), new_items()
    path = save_onnx(model, tmp_path)["image"]
    np.save(tmp_path / "x.npy", x.numpy())
    code = (
        "import sys, numpy as np, onnxruntime\n"
        "session = onnxruntime.InferenceSession('image.onnx')\n"
        "assert [i.name for i in session.get_inputs()] == ['raw']\n"
        "assert session.get_modelmeta().custom_metadata_map['modality'] == 'image'\n"
        "np.save('y.npy', session.run(None, {'raw': np.load('x.npy')})[0])\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    found = torch.from_numpy(np.load(tmp_path / "y.npy"))
    torch.testing.assert_close(found, run(path, x))


def test_the_same_model_gives_the_same_bytes_and_nothing_of_this_machine(tmp_path):
    model = distilled(paper_student)
    first, second = (save_onnx(model, tmp_path / n)["image"].read_bytes() for n in "ab")
    assert first == second
    for text in (b"site-packages", b"sgfd/export", b"stack_trace", str(tmp_path).encode()):
        assert text not in first


def test_the_model_stays_as_it_was(tmp_path):
    noisy = nn.Dropout(0.5)  # random while training, so that a graph of that mode could not agree
    model = distilled(partial(FeatureStudent.adopt, activation=noisy)).train()
    before = {name: x.clone() for name, x in model.state_dict().items()}
    with pytest.raises(RuntimeError, match=r"onnxruntime must give what encode gives"):
        save_onnx(model, tmp_path)
    assert noisy.training
    save_onnx(model.eval(), tmp_path)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())


def test_a_graph_that_differs_from_encode_is_not_written(tmp_path):
    class Doubled(FeatureStudent):
        def forward(self, input):
            return 2 * super().forward(input)

    model = distilled(Doubled.adopt)
    text = r"gives for 'image', to \d\.\de-0\d; 65 rows together differ by .*Nothing was written"
    with pytest.raises(RuntimeError, match=text):
        save_onnx(model, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_an_activation_that_no_graph_can_do_is_refused(tmp_path):
    def odd(x):
        return x if x.sum() > 0 else -x

    model = distilled(partial(FeatureStudent.adopt, activation=odd))
    # Older torch exports something, which is found out.
    text = "cannot export the student of 'image', .* is odd: |cannot run the|must give what encode"
    with pytest.raises(RuntimeError, match=text):
        save_onnx(model, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_what_cannot_be_written_is_refused(tmp_path, monkeypatch):
    with pytest.raises(TypeError, match=r"save_onnx needs what distill\(\) returns, .* got VBPR"):
        save_onnx(distilled().unwrap(), tmp_path)
    for dtype in (torch.float64, torch.bfloat16):
        with pytest.raises(TypeError, match=r"writes float32; got .*'image'.*model\.float\(\)"):
            save_onnx(distilled().to(dtype), tmp_path)
    (tmp_path / "image.onnx").write_text("kept")
    with pytest.raises(FileExistsError, match=r"image\.onnx exists.*overwrite=True"):
        save_onnx(distilled(), tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["image.onnx"]
    save_onnx(distilled(), tmp_path, overwrite=True)
    for package in ("onnx", "onnxscript", "onnxruntime"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            text = rf'save_onnx needs {package}, .*pip install "sgfd\[export\]"'
            with pytest.raises(ImportError, match=text):
                save_onnx(distilled(), tmp_path, overwrite=True)
