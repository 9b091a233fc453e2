"""What from_pretrained and save_pretrained refuse, each with the reason."""

import json
import math
import sys
from functools import partial
from hashlib import sha256

import numpy as np
import pytest
import strangers
import toolbox_models
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from strangers import ITEMS, USERS, WIDTHS, batch, batch_items, features, labels

import sgfd._files
from sgfd import Distilled, FeatureStudent, SemanticTeacher, SGFDLoss, distill
from sgfd.backbones import BM3, GRCN, MAML, VBPR

CONFIG, WEIGHTS = "config.json", "model.safetensors"


def seen(shift=0):
    return csr_array(np.arange(USERS * ITEMS).reshape(USERS, ITEMS) % 3 == shift, dtype=float)


def stranger(sources=None, model=None, **options) -> Distilled:
    torch.manual_seed(5)
    options = {"loss_method": "calculate_loss", "items": batch_items} | options
    model = strangers.SeparateBuffers() if model is None else model
    return distill(model, sources or features(), labels(), **options)


def load(folder, model=None, sources=None, **options) -> Distilled:
    model = strangers.SeparateBuffers() if model is None else model
    return Distilled.from_pretrained(
        folder, model, features() if sources is None else sources, **options
    )


def refused(error, text, folder, model=None, sources=None, **options):
    """The model, unless given, must be as it was afterwards: another try may go well."""
    model = strangers.SeparateBuffers() if model is None else model
    modules = list(model.modules()) if isinstance(model, torch.nn.Module) else []
    before = [x.clone() for module in modules for x in module.state_dict().values()]
    with pytest.raises(error) as caught:
        load(folder, model, sources, **options)
    assert text in str(caught.value), caught.value
    assert not modules or modules == list(model.modules())
    after = [x for module in modules for x in module.state_dict().values()]
    assert all(map(torch.equal, before, after))


# Files


def cut(name, keep):
    def damage(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * keep)])

    return damage


def flip(name, at):
    def damage(folder):
        data = bytearray((folder / name).read_bytes())
        data[int(len(data) * at)] ^= 1
        (folder / name).write_bytes(bytes(data))

    return damage


def edit(**changes):
    def damage(folder):
        content = json.loads((folder / CONFIG).read_text())
        content |= changes
        (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n")

    return damage


def longer(folder):
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"more")


def of_another_save(folder):
    other = stranger()
    with torch.no_grad():
        other.student("text").bias.add_(1)
    other.save_pretrained(folder / "other")
    (folder / "other" / WEIGHTS).replace(folder / WEIGHTS)


DAMAGES = [
    (cut(WEIGHTS, 0.5), ValueError, "model.safetensors is cut short: it has "),
    (cut(WEIGHTS, 0), ValueError, "model.safetensors is cut short: it has 0 bytes, where config"),
    (longer, ValueError, "model.safetensors is of another save: it has "),
    (of_another_save, ValueError, "model.safetensors is damaged or of another save: its SHA-256"),
    (flip(WEIGHTS, 0.0), ValueError, "model.safetensors is damaged or of another save"),
    (flip(WEIGHTS, 0.05), ValueError, "model.safetensors is damaged or of another save"),
    (flip(WEIGHTS, 0.999), ValueError, "Copy it again, or save the model again."),
    (cut(CONFIG, 0.5), ValueError, "config.json is cut short or damaged ("),
    (cut(CONFIG, 0), ValueError, "config.json is cut short or damaged (Expecting value"),
    (lambda folder: (folder / CONFIG).write_bytes(b"\xff\xfe"), ValueError, "is cut short or dam"),
    (lambda folder: (folder / CONFIG).write_text("[]"), ValueError, "its 'format' is None, not"),
    (edit(format="bert"), ValueError, "config.json is not of a model that save_pretrained wrote"),
    (
        edit(version=2, sgfd="0.9.0"),
        ValueError,
        "is of format version 2, written by sgfd 0.9.0; this sgfd reads versions up to 1. Update",
    ),
    (edit(loss_method="forward"), ValueError, "config.json was changed after it was written, or"),
    (edit(checksum="0"), ValueError, "config.json was changed after it was written, or is damaged"),
    (
        lambda folder: (folder / CONFIG).unlink(),
        FileNotFoundError,
        "config.json is not there: save_pretrained writes a folder with config.json and model.safe",
    ),
    (
        lambda folder: (folder / WEIGHTS).unlink(),
        FileNotFoundError,
        "model.safetensors is not there",
    ),
]


@pytest.mark.parametrize(("damage", "error", "text"), DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_folder_is_refused(damage, error, text, tmp_path):
    stranger().save_pretrained(tmp_path)
    load(tmp_path)
    damage(tmp_path)
    refused(error, text, tmp_path)


def test_no_flipped_bit_of_the_config_goes_unseen(tmp_path):
    stranger().save_pretrained(tmp_path)
    data = (tmp_path / CONFIG).read_bytes()
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        (tmp_path / CONFIG).write_bytes(bytes(damaged))
        with pytest.raises(ValueError, match="config.json|changed after it was written"):
            sgfd._saved.read_folder(tmp_path)


def test_line_ends_that_git_made_are_no_damage(tmp_path):
    stranger().save_pretrained(tmp_path)
    text = (tmp_path / CONFIG).read_bytes()
    (tmp_path / CONFIG).write_bytes(text.replace(b"\n", b"\r\n"))
    load(tmp_path)


def test_a_folder_that_is_not_there_is_an_error_that_names_it(tmp_path):
    refused(FileNotFoundError, "none/config.json is not there", tmp_path / "none")
    (tmp_path / "file").write_text("")
    refused(FileNotFoundError, "file/config.json is not there", tmp_path / "file")


# A backbone, features or parts that are not those of the model


class Wide(strangers.SeparateBuffers):
    def __init__(self):
        super().__init__()
        self.users = torch.nn.Embedding(USERS, 5)


class Untitled(strangers.SeparateBuffers):
    def __init__(self):
        super().__init__()
        del self.text_trs


def wider():
    x = features()
    x["text"] = torch.cat([x["text"], x["text"]], dim=1)
    return x


def shuffled():
    x = features()
    x["text"] = x["text"].flip(0)
    return x


def one_value_off():
    x = features()
    x["image"][7, 2] += 1e-6
    return x


def with_a_gap():
    x = features()
    x["image"][7] = torch.nan
    return x


def teacher(**options):
    return SemanticTeacher(WIDTHS, 4, **{"num_classes": 3, **options})


def adopt(**options):
    return partial(FeatureStudent.adopt, **options)


MISFITS = [
    ({"model": Wide()}, ValueError, "backbone.users.weight: (11, 4) float32 in the file, (11, 5)"),
    ({"model": Wide()}, ValueError, "Build the backbone with the data, arguments and modalities"),
    (
        {"model": strangers.SeparateBuffers().double()},
        ValueError,
        "modalities that it had, and convert it first: backbone.to(torch.float32).",
    ),
    (
        {"model": strangers.TrainableEmbedding()},
        ValueError,
        "backbone.image_embedding.weight: nothing in the file, (13, 10) float32 here",
    ),
    (
        {"model": Untitled()},
        sgfd.NoLayerError,
        "was saved from a SeparateBuffers with students at {'image': 'image_trs', 'text': "
        "'text_trs'}, and this Untitled has no layers for them there",
    ),
    ({"model": VBPR(seen(), features(), dim=4)}, sgfd.NoLayerError, "and this VBPR has no layers"),
    (
        {"model": stranger()},
        ValueError,
        "takes the recommender itself, as distill() does; got Dis",
    ),
    (
        {"model": stranger().backbone},
        ValueError,
        "'image_trs' (modality 'image') is a student alr",
    ),
    (
        {"model": torch.nn.DataParallel(strangers.SeparateBuffers())},
        ValueError,
        "takes the recommender itself, as distill() does; got DataParallel",
    ),
    (
        {"model": features()},
        TypeError,
        "backbone must be the recommender, a torch.nn.Module; got dic",
    ),
    ({"sources": [1]}, TypeError, "features must be {modality: ...}; got list"),
    (
        {"sources": {"image": features()["image"]}},
        ValueError,
        "was saved with, ['image', 'text']; got ['image']",
    ),
    (
        {"sources": features() | {"audio": features()["text"]}},
        ValueError,
        "was saved with, ['image', 'text']; got ['image', 'text', 'audio']",
    ),
    ({"sources": wider()}, ValueError, "features['text'] must have the width that "),
    (
        {"sources": {m: x[:-1] for m, x in features().items()}},
        ValueError,
        "features['image'] must have one row per item (13); got 12 rows",
    ),
    ({"sources": shuffled()}, ValueError, "features.text: [(13, 6) float32, SHA-256 "),
    ({"sources": one_value_off()}, ValueError, "pass ignore=['features.image']"),
    ({"sources": with_a_gap()}, ValueError, "features.image: [(13, 10) float32, SHA-256 "),
    (
        {"sources": features() | {"image": "image_feat"}},
        ValueError,
        "must be what {folder} was saved with, a tensor or an array; got 'image_feat'",
    ),
    (
        {"teacher": teacher(num_classes=4)},
        ValueError,
        "(3,) float32 in the file, (4,) float32 here",
    ),
    (
        {"teacher": teacher(hidden_features={"image": [7], "text": [7]})},
        ValueError,
        "teacher.extractors.image.0.weight: (4, 10) float32 in the file, (7, 10) float32 here",
    ),
    ({"teacher": teacher(fusion=False)}, ValueError, "teacher.fusion_classifier.bias: (3,) float3"),
    (
        {"teacher": teacher(inner_activation=None)},
        ValueError,
        "teacher.inner_activation: torch.nn.functional.leaky_relu in the file, None here",
    ),
    (
        {"teacher": SemanticTeacher(dict(reversed(WIDTHS.items())), 4, 3)},
        ValueError,
        "teacher.in_features: {'image': 10, 'text': 6} in the file, {'text': 6, 'image': 10} here",
    ),
    (
        {"teacher": torch.nn.Linear(2, 2)},
        TypeError,
        "teacher must be of class SemanticTeacher; got",
    ),
    ({"loss": F.mse_loss}, TypeError, "loss must be of class SGFDLoss; got function"),
    (
        {"loss": SGFDLoss(fusion=partial(sgfd.cross_entropy, class_weights=torch.ones(3)))},
        ValueError,
        "loss.fusion: sgfd.cross_entropy in the file, partial(sgfd.cross_entropy, class_weights=",
    ),
    ({"loss": SGFDLoss(kd_weight=0.5)}, ValueError, "loss.kd_weight: 0.01 in the file, 0.5 here"),
    (
        {"student": adopt(normalize=True)},
        ValueError,
        "students.image.normalize: False in the file, True here",
    ),
    (
        {"student": {"text": adopt(activation=F.relu)}},
        ValueError,
        "students.text.activation: None in the file, torch.nn.functional.relu here",
    ),
    ({"student": {"audio": adopt()}}, ValueError, "student names modalities without features: ['a"),
    ({"student": {"text": 3}}, TypeError, "student must be a function that makes a student"),
    (
        {"student": adopt(embed_normalize=False)},
        ValueError,
        "Teacher and student must be comparable: the teacher has normalize=True",
    ),
    ({"ignore": "backbone.x"}, ValueError, "ignore must be a list of names such as"),
    ({"ignore": ["backbone.x"]}, ValueError, "error about them gives them; got ['backbone.x']"),
    ({"items": 3}, TypeError, "items must be a function of the arguments of the backbone's calcul"),
]


@pytest.mark.parametrize(("given", "error", "text"), MISFITS, ids=range(len(MISFITS)))
def test_what_does_not_fit_the_saved_model_is_refused(given, error, text, tmp_path):
    stranger().save_pretrained(tmp_path)
    refused(error, text.replace("{folder}", str(tmp_path)), tmp_path, **given)
    load(tmp_path)


class Halved(strangers.SeparateBuffers):
    def __init__(self, half=False):
        super().__init__()
        self.half = half
        self.register_buffer("mask", torch.ones(ITEMS) * (2 - half), persistent=False)


def test_what_a_model_keeps_from_training_is_missed(tmp_path):
    model = stranger(model=toolbox_models.OncePerEpoch())
    model.calculate_loss(batch())
    model.save_pretrained(tmp_path)
    text = "backbone.graph: [(13, 13) float32, SHA-256 "
    refused(ValueError, text, tmp_path, toolbox_models.OncePerEpoch())
    text = "] in the file, nothing here\nBuild the backbone"
    refused(ValueError, text, tmp_path, toolbox_models.OncePerEpoch())
    load(tmp_path, toolbox_models.OncePerEpoch(), ignore=["backbone.graph"])


def test_settings_and_buffers_that_no_state_dict_holds_are_compared(tmp_path):
    stranger(model=Halved()).save_pretrained(tmp_path)
    refused(ValueError, "backbone.half: False in the file, True here", tmp_path, Halved(True))
    refused(ValueError, "backbone.mask: [(13,) float32, SHA-256 ", tmp_path, Halved(True))
    load(tmp_path, Halved(True), ignore=["backbone.half", "backbone.mask"])


class Private(strangers.SeparateBuffers):
    def __init__(self, edge=0.0):
        super().__init__()
        self.register_buffer("_edges", torch.tensor([1.0, edge]), persistent=False)
        self.best, self.curve = math.nan, [0.5, math.nan]


def test_a_buffer_counts_by_whatever_name_and_nan_is_nan(tmp_path):
    stranger(model=Private()).save_pretrained(tmp_path)
    load(tmp_path, Private())
    refused(ValueError, "backbone._edges: [(2,) float32, SHA-256 ", tmp_path, Private(2.0))


OTHERS = [
    (BM3, {"num_layers": 2}, "backbone.num_layers: 1 in the file, 2 here"),
    (GRCN, {"prune": False}, "backbone.prune: True in the file, False here"),
    (
        GRCN,
        {"pool": torch.mean},
        "backbone.pool: amax in the file, mean here",
    ),
    (VBPR, {"feature_bias": True}, "backbone.feature_bias.image: nothing in the file, (10,) float"),
    (
        VBPR,
        {"train_features": True},
        "backbone.features.image.values: nothing in the file, (13, 10)",
    ),
    (
        MAML,
        {"dim": 5},
        "backbone.user_embedding.weight: (11, 4) float32 in the file, (11, 5) float",
    ),
]


@pytest.mark.parametrize(("kind", "options", "text"), OTHERS)
def test_another_setting_of_a_backbone_of_ours_is_refused(kind, options, text, tmp_path):
    distill(kind(seen(), features(), dim=4), features(), labels()).save_pretrained(tmp_path)
    options = {"dim": 4, **options}
    refused(ValueError, text, tmp_path, kind(seen(), features(), **options))


@pytest.mark.parametrize("kind", [BM3, GRCN])
def test_another_graph_is_refused(kind, tmp_path):
    distill(kind(seen(), features(), dim=4), features(), labels()).save_pretrained(tmp_path)
    other = kind(seen(shift=1), features(), dim=4)
    refused(ValueError, "backbone.graph.user_items: [(", tmp_path, other)


@pytest.mark.parametrize("kind", [BM3, GRCN, MAML, VBPR])
def test_other_features_in_the_backbone_are_refused(kind, tmp_path):
    distill(kind(seen(), features(), dim=4), features(), labels()).save_pretrained(tmp_path)
    other = kind(seen(), shuffled(), dim=4)
    refused(ValueError, "backbone.features.text: [(13, 6) float32, SHA-256", tmp_path, other)


def test_modalities_in_another_order_are_refused(tmp_path):
    same_width = {"image": features()["text"], "text": features()["text"] + 1}
    model = distill(MAML(seen(), same_width, dim=4), same_width, labels())
    model.save_pretrained(tmp_path)
    turned = dict(reversed(same_width.items()))
    refused(
        ValueError,
        "come in another order: projections.image.weight where here projections.text.weight comes",
        tmp_path,
        MAML(seen(), turned, dim=4),
        same_width,
    )
    # The order in which they are handed in again is no matter.
    Distilled.from_pretrained(tmp_path, MAML(seen(), same_width, dim=4), turned)


def test_live_features_are_to_be_live_again(tmp_path):
    sources = {"image": "image_embedding", "text": features()["text"]}
    stranger(sources, strangers.TrainableEmbedding()).save_pretrained(tmp_path)
    text = "was saved with, read live, {'image': 'image_embedding'}; got Tensor"
    refused(ValueError, text, tmp_path, strangers.TrainableEmbedding())
    text = "{'image': 'image_embedding'}; got 'image_feat'"
    refused(
        ValueError,
        text,
        tmp_path,
        strangers.TrainableEmbedding(),
        sources | {"image": "image_feat"},
    )


def test_live_features_that_no_state_dict_holds_are_compared(tmp_path):
    class Private(strangers.SeparateBuffers):
        def __init__(self, shift=0):
            super().__init__()
            self._raw = features()["image"] + shift

    sources = {"image": "_raw", "text": features()["text"]}
    stranger(sources, Private(), projections={"image": "image_trs"}).save_pretrained(tmp_path)
    load(tmp_path, Private(), sources)
    refused(ValueError, "features.image: [(13, 10) float32, SHA-256", tmp_path, Private(1), sources)


def weighted(logits, y, weights):
    return sgfd.cross_entropy(logits, y, class_weights=torch.from_numpy(weights))


CUSTOM = [
    (
        {"teacher": teacher(inner_activation=torch.cos)},
        "saved with 'cos' in its teacher, which is not of torch's or sgfd's that a file can bring "
        "back: pass teacher=, made as it was for distill().",
    ),
    ({"loss": SGFDLoss(feature=lambda t, s: (t - s).sum(-1))}, "with '<lambda>' in its loss"),
    (
        {"loss": SGFDLoss(response=partial(lambda t, s, _, a: (a * t * s).sum(-1), a=2))},
        "pass loss=",
    ),
    (
        {"student": adopt(activation=torch.nn.PReLU(2))},
        "with 'PReLU(num_parameters=2)' in its stud",
    ),
    (
        {"loss": SGFDLoss(classification=partial(weighted, weights=np.array([0.5, 1, 1.5])))},
        "saved with 'partial(weighted, ...)' in its loss",
    ),
    ({"student": {"text": adopt(activation=torch.cos)}}, "'cos' in its students.text"),
]


@pytest.mark.parametrize(("given", "text"), CUSTOM, ids=range(len(CUSTOM)))
def test_a_function_of_ones_own_must_be_handed_in_again(given, text, tmp_path):
    stranger(**given).save_pretrained(tmp_path)
    refused(ValueError, text, tmp_path)
    load(tmp_path, **given)


def test_another_function_of_ones_own_is_refused(tmp_path):
    stranger(teacher=teacher(inner_activation=torch.cos)).save_pretrained(tmp_path)
    text = "teacher.inner_activation: cos in the file, sin here"
    refused(ValueError, text, tmp_path, teacher=teacher(inner_activation=torch.sin))


def test_a_config_brings_back_no_function_but_the_known(tmp_path):
    stranger().save_pretrained(tmp_path)
    content = json.loads((tmp_path / CONFIG).read_text())
    content["model"]["teacher.activation"] = {"function": "os.system"}
    del content["checksum"]
    content["checksum"] = sha256(json.dumps(content).encode()).hexdigest()
    (tmp_path / CONFIG).write_text(json.dumps(content, indent=2) + "\n")
    refused(ValueError, "saved with 'os.system' in its teacher", tmp_path)


def test_items_without_a_loss_method_are_refused(tmp_path):
    stranger(loss_method=None, items=None).save_pretrained(tmp_path)
    text = "items goes with a loss_method, and the model was saved without"
    refused(ValueError, text, tmp_path, items=batch_items)


# Saving


class Sparse(strangers.SeparateBuffers):
    def __init__(self):
        super().__init__()
        self.register_buffer("graph", torch.eye(3).to_sparse())


class Extra(strangers.SeparateBuffers):
    def get_extra_state(self):
        return "more"

    def set_extra_state(self, state):
        pass


class Complex(strangers.SeparateBuffers):
    def __init__(self):
        super().__init__()
        self.register_buffer("phase", torch.ones(2, dtype=torch.complex128))


UNSAVED = [
    (Sparse, ValueError, "'backbone.graph' is of layout torch.sparse_coo: there are no values"),
    (Extra, TypeError, "hold tensors alone; 'backbone._extra_state' is str"),
    (
        Complex,
        ValueError,
        "safetensors cannot hold the state dict, whose dtypes are torch.complex128",
    ),
]


@pytest.mark.parametrize(("kind", "error", "text"), UNSAVED)
def test_what_safetensors_cannot_hold_is_refused(kind, error, text, tmp_path):
    with pytest.raises(error) as caught:
        stranger(model=kind()).save_pretrained(tmp_path / "none")
    assert text in str(caught.value)
    assert not (tmp_path / "none").exists()


def test_a_model_without_values_is_refused(tmp_path):
    with pytest.raises(ValueError, match="is on the meta device"):
        stranger().to("meta").save_pretrained(tmp_path)


def test_a_model_that_is_there_is_kept_unless_told_otherwise(tmp_path):
    model = stranger()
    model.save_pretrained(tmp_path)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    with pytest.raises(FileExistsError, match=r"config\.json, .*exist: .*overwrite=True"):
        model.save_pretrained(tmp_path)
    (tmp_path / CONFIG).unlink()
    with pytest.raises(FileExistsError, match=r"model\.safetensors exist"):
        model.save_pretrained(tmp_path)
    assert (tmp_path / WEIGHTS).read_bytes() == before[WEIGHTS]
    with pytest.raises(NotADirectoryError, match="is a file, and was to be a folder"):
        model.save_pretrained(tmp_path / WEIGHTS / "below", overwrite=True)


def test_a_save_that_fails_leaves_the_old_model(tmp_path, monkeypatch):
    model = stranger()
    model.save_pretrained(tmp_path)
    expected = load(tmp_path).export()["text"]
    with torch.no_grad():
        model.student("text").bias.add_(1)

    def full(_):
        raise OSError("disk full")

    monkeypatch.setattr(sgfd._files.os, "fsync", full)
    with pytest.raises(OSError, match="disk full"):
        model.save_pretrained(tmp_path, overwrite=True)
    assert sorted(p.name for p in tmp_path.iterdir()) == [CONFIG, WEIGHTS]
    assert torch.equal(load(tmp_path).export()["text"], expected)


def test_without_safetensors_the_error_names_the_extra(tmp_path, monkeypatch):
    model = stranger()
    model.save_pretrained(tmp_path)
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(ImportError, match=r'save_pretrained needs.*pip install "sgfd\[export\]"'):
        model.save_pretrained(tmp_path / "other")
    with pytest.raises(ImportError, match=r'from_pretrained needs.*pip install "sgfd\[export\]"'):
        load(tmp_path)
