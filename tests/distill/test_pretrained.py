"""save_pretrained and from_pretrained: another process scores the same to the bit.

Run as a script, this file is that other process.
"""

import copy
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import strangers
import toolbox_models
import torch
import torch.nn.functional as F
from readme_snippets import run
from safetensors.torch import load_file
from scipy.sparse import csr_array
from strangers import ITEMS, USERS, WIDTHS, batch, batch_items, features, labels

import sgfd
from sgfd import Distilled, FeatureStudent, SemanticTeacher, SGFDLoss, distill, paper_student
from sgfd.backbones import BM3, GRCN, MAML, VBPR

OURS = {kind.__name__: kind for kind in (BM3, GRCN, MAML, VBPR)}
THEIRS = {
    kind.__name__: kind
    for kind in (strangers.SeparateBuffers, strangers.TrainableEmbedding, strangers.TwoPaths)
}
DTYPES = {"float32": torch.float32, "float64": torch.float64}
CASES = [(name, dtype) for name in (*OURS, *THEIRS) for dtype in DTYPES]


def gappy() -> dict[str, torch.Tensor]:
    x = features()
    x["image"][3] = torch.nan
    return x


def seen() -> csr_array:
    return csr_array(np.arange(USERS * ITEMS).reshape(USERS, ITEMS) % 3 == 0, dtype=float)


def backbone(name: str, dtype: str, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    if name in THEIRS:
        return THEIRS[name]().to(DTYPES[dtype])
    return OURS[name](seen(), gappy(), dim=4, seed=seed).to(DTYPES[dtype])


def given(name: str) -> dict[str, torch.Tensor | str]:
    if name == "TrainableEmbedding":
        return {"text": features()["text"], "image": "image_embedding"}
    return features() if name in THEIRS else gappy()


def stranger(model=None, sources=None, y=None, **options) -> Distilled:
    options = {"loss_method": "calculate_loss", "items": batch_items} | options
    torch.manual_seed(5)
    model = strangers.SeparateBuffers() if model is None else model
    y = labels() if y is None else y
    return distill(model, sources or features(), y, **options)


def trained(model: Distilled, steps: int = 3) -> Distilled:
    users, items, negatives = batch()
    ours = model._loss_method == "forward"
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model((users, items, negatives[:, None])) if ours else model.calculate_loss(batch())
        loss.backward()
        optimizer.step()
    return model.eval()


def said(model: Distilled) -> dict[str, np.ndarray]:
    """All that a model says: scores, features, those of new items, and the distillation terms."""
    users = torch.arange(USERS)
    ours = model._loss_method == "forward"
    with torch.no_grad():
        scores = model.scores(users) if ours else model.full_sort_predict(users)
        terms = model.distillation_terms(torch.arange(ITEMS))
    new = {m: torch.full((2, width), torch.nan) for m, width in WIDTHS.items()}
    for x in new.values():
        x[0] = 0.5
    found = {"scores": scores, **terms._asdict()}
    found |= {f"export {m}": x for m, x in model.export().items()}
    found |= {f"encode {m}": x for m, x in model.encode(new).items()}
    found |= {f"missing {m}": x for m, x in model.missing().items()}
    return {name: x.numpy() for name, x in found.items()}


def main(folder: Path) -> None:
    for name, dtype in CASES:
        where = folder / f"{name}-{dtype}"
        model = Distilled.from_pretrained(where, backbone(name, dtype, seed=9), given(name))
        np.savez(where / "said.npz", **said(model))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What this process said of each model, in memory, and the other one of what was saved."""
    folder = tmp_path_factory.mktemp("saved")
    here = {}
    for name, dtype in CASES:
        model = backbone(name, dtype, seed=1)
        masks = {"text": torch.arange(ITEMS) == 5}
        options = {"loss_method": "calculate_loss", "items": batch_items} if name in THEIRS else {}
        model = trained(distill(model, given(name), labels(), missing=masks, **options))
        model.save_pretrained(folder / f"{name}-{dtype}")
        here[name, dtype] = said(model)
    path = [str(Path(strangers.__file__).parent), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, __file__, folder],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder, here


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_a_fresh_process_says_the_same_to_the_bit(name, dtype, folder):
    folder, here = folder
    expected, got = here[name, dtype], np.load(folder / f"{name}-{dtype}" / "said.npz")
    assert expected["scores"].dtype == dtype
    assert got.files == list(expected)
    for key, x in expected.items():
        assert x.dtype == got[key].dtype, key
        assert x.tobytes() == got[key].tobytes(), key


def same(model: Distilled, other: Distilled) -> None:
    expected, got = said(model), said(other)
    for key, x in expected.items():
        assert x.tobytes() == got[key].tobytes(), key


def again(model: Distilled, folder: Path, sources=None, **options) -> Distilled:
    """The model by way of a folder, around a backbone of its kind with other parameters."""
    model.save_pretrained(folder)
    torch.manual_seed(8)
    other = Distilled.from_pretrained(
        folder, type(model.backbone)(), sources or features(), **options
    )
    same(model, other)
    return other


def test_a_folder_holds_two_files_and_no_features(tmp_path):
    model = stranger()
    assert model.save_pretrained(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert sorted(p.name for p in (tmp_path / "a" / "b").iterdir()) == [
        "config.json",
        "model.safetensors",
    ]
    tensors = load_file(tmp_path / "a" / "b" / "model.safetensors")
    assert tensors.keys() == model.state_dict().keys() | {"_labels"}
    # Those of SeparateBuffers are persistent buffers of its own; ours are not.
    ours = distill(backbone("VBPR", "float32", 1), gappy(), labels())
    ours.save_pretrained(tmp_path / "ours")
    shapes = {tuple(x.shape) for x in load_file(tmp_path / "ours" / "model.safetensors").values()}
    assert not shapes & {(ITEMS, width) for width in WIDTHS.values()}


def test_saving_changes_nothing_and_loading_leaves_the_generator(tmp_path):
    model = stranger()
    before = copy.deepcopy(model.state_dict())
    model.train().save_pretrained(tmp_path)
    assert model.training
    assert all(torch.equal(x, before[k]) for k, x in model.state_dict().items())
    fresh = strangers.SeparateBuffers()
    state = torch.get_rng_state()
    loaded = Distilled.from_pretrained(tmp_path, fresh, features())
    assert torch.equal(torch.get_rng_state(), state)
    assert loaded.backbone is fresh
    assert not any(module.training for module in loaded.modules())


def test_tied_parameters_are_stored_once_and_stay_tied(tmp_path):
    model = stranger(strangers.TwoPaths())
    loaded = again(trained(model), tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    names = {"backbone.image_trs.weight", "backbone.again.0.weight"}
    assert len(names & stored.keys()) == 1
    assert loaded.backbone.again[0] is loaded.backbone.image_trs is loaded.student("image")


def test_two_modalities_through_one_layer_have_one_student_again(tmp_path):
    class OneLayer(strangers.Stranger):
        def __init__(self):
            super().__init__()
            self.front = torch.nn.Linear(6, strangers.DIM)

        def item_features(self):
            return self.front(features()["text"])

    both = {"text": features()["text"], "title": features()["text"].flip(0)}
    paths = dict.fromkeys(both, "front")
    model = trained(stranger(OneLayer(), both, projections=paths, student=paper_student))
    model.save_pretrained(tmp_path)
    loaded = Distilled.from_pretrained(tmp_path, OneLayer(), both)
    assert loaded.student("text") is loaded.student("title")
    assert np.array_equal(loaded.export()["title"], model.export()["title"])


@pytest.mark.parametrize("order", [1, -1])
def test_the_order_of_the_features_is_that_of_distill(order, tmp_path):
    masks = {"text": torch.arange(ITEMS) == 5}
    names = list(WIDTHS)[::order]
    model = trained(stranger(sources={m: features()[m] for m in names}, missing=masks))
    loaded = again(model, tmp_path)
    assert list(loaded.student_paths) == list(loaded.teacher.in_features) == names


TWO_LEVELS = {"kind": np.arange(ITEMS) % 2, "shelf": np.arange(ITEMS) % 3 - 1}
LEVELS = sgfd.hierarchy(
    (2, 4), weights=(0.7, 0.3), class_weights=(None, torch.tensor([0.1, 1, 2, 3]))
)
HOT = (torch.arange(ITEMS * 4).view(ITEMS, 4) % 3 == 0).long()
LABELS = {
    "single": (labels(), {"num_classes": 7}),
    "strings": ([None, *"abcabcabcabc"], {}),
    "class weights": (
        labels(),
        {
            "loss": SGFDLoss(
                ce_weight=0.3,
                classification=partial(
                    sgfd.cross_entropy, class_weights=torch.tensor([0.1, 1 / 3, 2.0])
                ),
            )
        },
    ),
    "multi-hot": (HOT, {}),
    "levels": (TWO_LEVELS, {"num_classes": {"kind": 2, "shelf": 4}}),
    "weighted levels": (
        TWO_LEVELS,
        {
            "num_classes": {"kind": 2, "shelf": 4},
            "loss": SGFDLoss(
                kd_weight=0.7,
                classification=LEVELS.classification,
                fusion=LEVELS.classification,
                response=LEVELS.response,
            ),
        },
    ),
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_and_loss_of_every_kind_come_back(kind, tmp_path):
    y, options = LABELS[kind]
    model = trained(stranger(y=y, **options))
    loaded = again(model, tmp_path, items=batch_items)
    assert torch.equal(loaded._labels, model._labels)
    assert loaded._labels.dtype == model._labels.dtype
    same(trained(model.train()), trained(loaded.train()))  # and are trained on alike


def test_settings_of_teacher_and_students_come_back(tmp_path):
    slope = partial(F.leaky_relu, negative_slope=0.2)
    teacher = SemanticTeacher(
        WIDTHS,
        4,
        3,
        hidden_features={"image": (9, 5), "text": ()},
        inner_activation=torch.tanh,
        activation=slope,
        fusion=False,
        fusion_activation=None,
    )
    model = stranger(
        teacher=teacher,
        student={
            "image": partial(FeatureStudent.adopt, embed_activation=slope, activation=F.gelu),
            "text": partial(FeatureStudent.adopt, embed_activation=slope, normalize=True),
        },
    )
    loaded = again(trained(model), tmp_path)
    assert str(loaded.teacher.extractors) == str(teacher.extractors)
    assert loaded.teacher.inner_activation is torch.tanh
    assert loaded.teacher.activation.keywords == {"negative_slope": 0.2}
    assert loaded.student("image").activation is F.gelu
    assert not loaded.student("image").normalize
    assert loaded.student("text").normalize


def test_a_model_may_be_saved_after_its_recommender_was_taken_out(tmp_path):
    model = trained(stranger(student={"image": paper_student}))
    scores = model.full_sort_predict(torch.arange(USERS))
    model.unwrap()
    other = again(model, tmp_path / "x")
    assert torch.equal(other.full_sort_predict(torch.arange(USERS)), scores)
    for m in WIDTHS:
        assert isinstance(other.student(m), FeatureStudent)
        assert other.student(m).normalize == (m == "image")


def test_what_the_release_computes_comes_back(tmp_path):
    preset = sgfd.release.settings(WIDTHS, 3, out_features=4)
    model = stranger(teacher=preset.teacher, student=preset.student, loss=preset.loss)
    loaded = again(trained(model), tmp_path)
    assert loaded.sgfd_loss.response is sgfd.release.mean_absolute_difference


def ramp(x):
    return x.clamp(min=0) + 0.25 * x


class OwnTeacher(SemanticTeacher):
    pass


def test_functions_of_ones_own_are_handed_in_again(tmp_path):
    adopt = partial(FeatureStudent.adopt, embed_activation=ramp)

    def parts():
        return {
            "teacher": OwnTeacher(WIDTHS, 4, 3, activation=ramp, inner_activation=torch.nn.PReLU()),
            "student": adopt,
            "loss": SGFDLoss(feature=lambda t, s: (t - s).abs().sum(-1)),
        }

    model = trained(stranger(**parts()))
    assert "teacher.inner_activation.weight" in model.state_dict()
    again(model, tmp_path, **parts())


def test_a_student_with_parameters_of_its_own_comes_back(tmp_path):
    def with_prelu(layer):
        return FeatureStudent.adopt(layer, activation=torch.nn.PReLU())

    model = trained(stranger(student={"text": with_prelu}))
    assert model.student("text").activation.weight != 0.25
    again(model, tmp_path, student={"text": with_prelu})


def test_training_goes_on_where_the_items_are_named(tmp_path):
    model = trained(stranger())
    loaded = again(model, tmp_path, items=batch_items)
    same(trained(model.train()), trained(loaded.train()))


def test_without_items_a_loaded_model_scores_and_its_loss_is_an_error(tmp_path):
    loaded = again(trained(stranger()), tmp_path)
    with pytest.raises(RuntimeError, match=r"A loaded one: items= at from_pretrained\(\)"):
        loaded.calculate_loss(batch())
    assert loaded.distillation_loss(torch.arange(3)) > 0


def test_a_loop_of_ones_own_needs_no_items(tmp_path):
    model = stranger(loss_method=None, items=None)
    model.save_pretrained(tmp_path)
    loaded = Distilled.from_pretrained(tmp_path, strangers.SeparateBuffers(), features())
    assert torch.equal(loaded.calculate_loss(batch()), model.calculate_loss(batch()))


def test_features_may_come_as_a_memory_map(tmp_path):
    model = trained(distill(backbone("VBPR", "float32", 1), gappy(), labels()))
    model.save_pretrained(tmp_path / "model")
    maps = {}
    for m, x in gappy().items():
        np.save(tmp_path / f"{m}.npy", x)
        maps[m] = np.load(tmp_path / f"{m}.npy", mmap_mode="r")
    loaded = Distilled.from_pretrained(tmp_path / "model", VBPR(seen(), maps, dim=4, seed=3), maps)
    same(model, loaded)


def test_features_may_come_in_another_precision_that_holds_them(tmp_path):
    model = trained(stranger())
    model.save_pretrained(tmp_path)
    wide = {m: x.double().numpy() for m, x in features().items()}
    loaded = Distilled.from_pretrained(tmp_path, strangers.SeparateBuffers(), wide)
    expected, got = said(model), said(loaded)
    for key in ("scores", "total", "export image", "export text"):
        assert np.array_equal(got[key], expected[key])


def test_a_model_converted_after_distill_comes_back_in_that_precision(tmp_path):
    model = trained(stranger().to(torch.bfloat16))
    model.save_pretrained(tmp_path)
    fresh = strangers.SeparateBuffers().to(torch.bfloat16)
    loaded = Distilled.from_pretrained(tmp_path, fresh, features())
    assert torch.equal(loaded.full_sort_predict(batch()[0]), model.full_sort_predict(batch()[0]))
    assert torch.equal(loaded.distillation_loss(batch()[1]), model.distillation_loss(batch()[1]))


IN_PLACE = [
    (toolbox_models.KeptConcatenation, {"both": "raw"}),
    (toolbox_models.Towers, {"image": "v_tower.features", "text": "t_tower.features"}),
    (toolbox_models.FrozenEmbeddings, features()),
    (toolbox_models.TrainableEmbeddings, {"image": "tables.image", "text": "tables.text"}),
    (toolbox_models.NormalizedAtOnce, {"image": "v_feat", "text": "t_feat"}),
    (toolbox_models.Listed, features()),
    (toolbox_models.UsersBesideItems, {"image": "image_feat"}),
    (toolbox_models.RegistersWhileTraining, features()),
]


@pytest.mark.parametrize(("kind", "sources"), IN_PLACE)
def test_every_way_of_holding_features_comes_back(kind, sources, tmp_path):
    model = trained(stranger(kind(), sources))
    model.save_pretrained(tmp_path)
    loaded = Distilled.from_pretrained(tmp_path, kind(), sources)
    users = torch.arange(USERS)
    assert torch.equal(loaded.full_sort_predict(users), model.full_sort_predict(users))
    items = torch.arange(ITEMS)
    assert torch.equal(loaded.distillation_loss(items), model.distillation_loss(items))


def test_what_json_cannot_say_is_no_obstacle(tmp_path):
    class Rich(strangers.SeparateBuffers):
        def __init__(self):
            super().__init__()
            self.loader, self.pairs = object(), {(1, 2): 3}
            self.graphs = [torch.eye(3).to_sparse()]
            self.graph = torch.eye(3).to_sparse_csr()
            self.history = {str(user): list(range(user)) for user in range(90)}
            self.rate = np.float32(0.5)

    again(trained(stranger(Rich())), tmp_path)
    config = (tmp_path / "config.json").read_text()
    assert '"backbone.rate": 0.5' in config
    assert len(config) < 6000  # the history by its hash


def test_what_may_differ_is_named(tmp_path):
    class Cached(strangers.SeparateBuffers):
        def __init__(self):
            super().__init__()
            self.steps, self.last = 0, torch.zeros(2)

    model = stranger(Cached())
    model.backbone.steps, model.backbone.last = 7, torch.ones(2).to_sparse()
    model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"ignore=\['backbone.steps', 'backbone.last'\]"):
        Distilled.from_pretrained(tmp_path, Cached(), features())
    names = ["backbone.steps", "backbone.last"]
    loaded = Distilled.from_pretrained(tmp_path, Cached(), features(), ignore=names)
    assert loaded.backbone.steps == 0


def test_features_that_our_backbone_trains_come_back(tmp_path):
    def fresh(seed):
        return VBPR(seen(), gappy(), dim=4, seed=seed, train_features=True)

    for name, sources in (
        ("raw", gappy()),
        ("live", {m: f"features.{m}" for m in WIDTHS}),
        ("one of each", gappy() | {"text": "features.text.values"}),
    ):
        model = distill(fresh(1), sources, labels())
        with torch.no_grad():  # as training would
            model.backbone.features["text"].values.mul_(1.5)
        model.save_pretrained(tmp_path / name)
        loaded = Distilled.from_pretrained(tmp_path / name, fresh(2), sources)
        same(model, loaded)
        assert torch.equal(loaded.backbone.features["text"].values, features()["text"] * 1.5)


def test_saved_over_an_older_model_it_is_the_new_one(tmp_path):
    model = stranger()
    model.save_pretrained(tmp_path)
    trained(model).save_pretrained(tmp_path, overwrite=True)
    same(model, Distilled.from_pretrained(tmp_path, strangers.SeparateBuffers(), features()))
    assert len(list(tmp_path.iterdir())) == 2


def test_the_page_on_saving_runs_as_written(tmp_path, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "saving.md"
    monkeypatch.chdir(tmp_path)
    assert run(page) == 4


if __name__ == "__main__":
    main(Path(sys.argv[1]))
