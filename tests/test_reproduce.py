"""The example that reproduces the paper's settings, on files of the authors' layout and size."""

import json
import runpy
import sys
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sgfd import release
from sgfd.data import synthetic_catalog

EXAMPLE = Path(__file__).parents[1] / "examples" / "reproduce.py"
USERS, ITEMS, LABELS = 4874, 2406, 54


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A folder like the authors' of Office: their sizes, few pairs, features that show labels."""
    folder = tmp_path_factory.mktemp("Data") / "Office"
    folder.mkdir()
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.arange(ITEMS) % LABELS)
    by_label = [np.flatnonzero(labels == label) for label in range(LABELS)]
    lines = {"train": [], "test": []}
    for user in [*range(500), USERS - 1]:
        ranked = user < 60 or user == USERS - 1  # the others have too few pairs to be tested on
        items = rng.permutation(by_label[user % LABELS])[: 10 + user % 4 if ranked else 1]
        lines["train"] += [f"{item},{user}" for item in items[:9]]
        lines["test"] += [f"{item},{user}" for item in items[9:]]  # 1 to 4: micro is not macro
    for part, pairs in lines.items():
        (folder / f"{part}.csv").write_text("\n".join(["itemID,userID", *pairs]) + "\n")
    for name, width in {"Image": 4096, "Text": 1024}.items():
        centers = rng.standard_normal((LABELS, width), dtype=np.float32)
        x = centers[labels] + rng.standard_normal((ITEMS, width), dtype=np.float32)
        np.save(folder / f"Feature{name}_normal.npy", x)
    np.save(folder / "MetaData_normal.npy", labels)
    return folder


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Runs the example for one epoch, writing to tmp_path; returns what it printed."""

    def reproduce(*arguments):
        options = ["--dataset", "Office", "--epochs", "1", "--out", tmp_path, *arguments]
        monkeypatch.setattr(sys, "argv", [str(EXAMPLE), *map(str, options)])
        runpy.run_path(str(EXAMPLE), run_name="__main__")
        return capsys.readouterr().out

    return reproduce


PUBLISHED = {
    "bm3": ["13.67", "15.36", "14.07", "15.86"],
    "grcn": ["13.20", "15.33", "13.88", "16.26"],
    "maml": ["13.33", "14.12", "14.22", "14.87"],
}


def numbers(printed, row):
    (line,) = [line for line in printed.splitlines() if line.startswith(f"{row}  ")]
    return line.replace("/", " ").split()[1:]


@pytest.mark.parametrize("mathematics", ["ours", "release"])
@pytest.mark.parametrize("backbone", ["bm3", "grcn", "maml"])
def test_the_published_cell_stands_beside_the_measured_one(
    run, files, tmp_path, backbone, mathematics
):
    flags = ["--release"] if mathematics == "release" else []
    printed = run("--backbone", backbone, "--data", files.parent, *flags)
    assert numbers(printed, "published") == PUBLISHED[backbone]
    folder = tmp_path / f"Office_{backbone}{'_release' * len(flags)}"
    cells = json.loads((folder / "results.json").read_text())["cells"]
    for row in ("measured", "standard"):
        assert numbers(printed, row) == [f"{x:.2f}" for cell in cells[row] for x in cell]
    (recall, ndcg), (standard_recall, standard_ndcg) = cells["measured"][0], cells["standard"][0]
    if backbone == "maml":  # four steps at its rate teach nothing yet
        assert recall == pytest.approx(standard_recall)
    else:
        assert ndcg > standard_ndcg > 0  # of the hits retrieved: kinder
    assert "ours on a tenth of train" in printed
    different = [line for line in printed.splitlines() if "NOT COMPARABLE" in line]
    assert len(different) == 1
    assert "interactions:" in different[0]
    assert "52957 in the paper" in different[0]


def test_a_run_is_resumed_and_ends_the_same(run, files):
    first = run("--backbone", "bm3", "--data", files.parent)
    with pytest.raises(FileExistsError, match="resume"):
        run("--backbone", "bm3", "--data", files.parent)
    again = run("--backbone", "bm3", "--data", files.parent, "--resume")
    assert numbers(again, "measured") == numbers(first, "measured")


def test_without_the_image_features_the_numbers_are_said_not_to_compare(run, files):
    printed = run("--backbone", "bm3", "--data", files.parent, "--modalities", "Text")
    assert (
        "NOT COMPARABLE with the paper, feature widths: {'Text': 1024} here, "
        "{'Image': 4096, 'Text': 1024} in the paper\n"
    ) in printed


def test_missing_files_are_named_with_shape_and_place(run, files, tmp_path):
    with pytest.raises(SystemExit) as nothing_there:
        run("--backbone", "grcn", "--data", tmp_path)
    assert nothing_there.value.code == (
        f"{tmp_path / 'Office'} must have the authors' files; put there what is missing:\n"
        "  train.csv: columns itemID,userID, a line per pair\n"
        "  test.csv: columns itemID,userID, a line per pair\n"
        "  FeatureImage_normal.npy: floating (2406, 4096)\n"
        "  FeatureText_normal.npy: floating (2406, 1024)\n"
        "  MetaData_normal.npy: integers (2406,), labels 0..53\n"
        "Their page says where to get them: https://github.com/HuilinChenJN/SGFD"
    )
    some = tmp_path / "some" / "Office"
    some.mkdir(parents=True)
    for name in ("train.csv", "test.csv", "FeatureText_normal.npy"):
        (some / name).symlink_to(files / name)
    with pytest.raises(SystemExit) as features_missing:
        run("--backbone", "maml", "--data", some.parent)
    assert str(features_missing.value).splitlines()[1:3] == [
        "  FeatureImage_normal.npy: floating (2406, 4096)",
        "  MetaData_normal.npy: integers (2406,), labels 0..53",
    ]


@pytest.mark.data
def test_office_as_it_is_known_here_lacks_the_image_features_only(run, data_dir, tmp_path):
    (tmp_path / "Office").symlink_to(data_dir / "office")
    with pytest.raises(SystemExit, match=r"missing:\n  FeatureImage_normal\.npy: .*\nTheir page"):
        run("--backbone", "bm3", "--data", tmp_path)


@pytest.fixture(scope="module")
def build():
    """The example's ``build`` for Office, on a small catalog: (arguments) to (plain, distilled)."""
    function = runpy.run_path(str(EXAMPLE))["build"]
    data = synthetic_catalog(num_users=60, num_items=50, num_classes=3)

    def arms(backbone, release):
        args = Namespace(backbone=backbone, dataset="Office", release=release, seed=3)
        return [function(args, data, distilled=distilled) for distilled in (False, True)]

    return arms


@pytest.mark.parametrize("backbone", ["bm3", "grcn", "maml"])
def test_both_arms_are_alike_but_for_teacher_and_loss(build, backbone):
    plain, distilled = build(backbone, release=False)
    there = distilled.backbone.state_dict()
    assert plain.state_dict().keys() == there.keys()
    assert all(torch.equal(value, there[name]) for name, value in plain.state_dict().items())
    x = torch.randn(5, distilled.student("text").in_features)
    assert torch.equal(distilled.student("text")(x), plain.projections["text"](x))
    assert distilled.teacher.inner_activation is F.leaky_relu
    assert distilled.sgfd_loss.detach_teacher


@pytest.mark.parametrize("backbone", ["bm3", "grcn", "maml"])
def test_the_release_has_its_own_teacher_student_and_loss(build, backbone):
    plain, distilled = build(backbone, release=True)
    loss, weights = distilled.sgfd_loss, release.recipe(backbone, "Office").weights
    assert (loss.ce_weight, loss.kd_weight, loss.temperature) == weights
    assert not loss.detach_teacher
    assert distilled.teacher.inner_activation is None
    x = torch.randn(5, distilled.student("text").in_features)
    linear = plain.projections["text"](x)
    expected = {
        "bm3": F.normalize(F.leaky_relu(linear, 0.01)),
        "grcn": F.normalize(linear),
        "maml": F.leaky_relu(linear, 0.2),
    }
    torch.testing.assert_close(distilled.student("text")(x), expected[backbone])


def test_the_release_has_its_own_backbones(build):
    plain, distilled = build("bm3", release=True)
    assert isinstance(plain.features["text"].values, torch.nn.Parameter)
    assert not isinstance(distilled.features["text"].values, torch.nn.Parameter)
    for model, prune in zip(build("grcn", release=True), (True, False), strict=True):
        assert (model.num_routings, model.prune) == (0, prune)
    for model in build("maml", release=True):
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        assert [name.removeprefix("backbone.") for name in trained] == [
            "user_embedding.weight",
            "item_embedding.weight",
        ]
        starts = model.item_features(torch.arange(model.num_items))
        assert torch.equal(model.item_embedding.weight, starts)
