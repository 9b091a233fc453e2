"""Teacher, student, extractor losses and fusion against the authors' released code."""

import golden_files as golden
import pytest
import torch
import torch.nn.functional as F
from golden_files import on_each_device as on_each_device

from sgfd import FeatureStudent, SemanticTeacher, SGFDLoss, release
from sgfd._chain import hidden_widths

TEACHERS = ["100_64", "1024_128", "256_16", "384_64", "64_64", "96_16"]
CRASHES_IN_THE_RELEASE = ["1000_64", "300_16", "50_64"]


def teacher_of(d: int, latent: int, activation) -> SemanticTeacher:
    return release.settings(
        {"m": d}, 2, out_features=latent, activation=activation
    ).teacher.double()


def load_student(file: dict, d: int, latent: int, activation) -> FeatureStudent:
    student = FeatureStudent(d, latent, activation=activation, dtype=torch.float64)
    golden.linear_(student, file["student.MLP.weight"], file["student.MLP.bias"])
    return student


@pytest.mark.parametrize("folded", [False, True])
@pytest.mark.parametrize("activation", [F.leaky_relu, None])
@pytest.mark.parametrize("name", TEACHERS)
def test_teacher_equals_the_release(name, activation, folded):
    file = golden.load(f"teacher_student_{name}")
    d, latent = map(int, name.split("_"))
    teacher = teacher_of(d, latent, activation)
    layers = teacher.extractors["m"]
    widths = [[layer.in_features, layer.out_features] for layer in layers]
    assert widths == file["teacher_widths"].tolist()
    modules = {f"transfer_multilayer.{i}": layer for i, layer in enumerate(layers)}
    parameters = golden.parameters_of(modules)
    golden.assign(parameters, golden.prefixed(file, "teacher."))
    # The same rows many times over make folding pay; six rows do not.
    repeats = 200 if folded else 1
    x = file["x"].repeat(repeats, 1)
    out = teacher({"m": x}).embeddings["m"]
    golden.close(out, file["teacher_out" if activation else "teacher_out_noact"].repeat(repeats, 1))
    if activation and "cotangent" in file:
        (out * file["cotangent"].repeat(repeats, 1) / repeats).sum().backward()
        golden.assert_gradients(parameters, golden.prefixed(file, "teacher_grad."))


@pytest.mark.parametrize("activation", [F.leaky_relu, None])
@pytest.mark.parametrize("name", TEACHERS + CRASHES_IN_THE_RELEASE)
def test_student_equals_the_release(name, activation):
    file = golden.load(f"teacher_student_{name}")
    d, latent = map(int, name.split("_"))
    student = load_student(file, d, latent, activation)
    out = student(file["x"])
    key = "student_out" if activation else "student_out_noact"
    if key in file:  # the crashing widths hold the activated output only
        golden.close(out, file[key])
    if activation and "cotangent" in file:
        (out * file["cotangent"]).sum().backward()
        golden.assert_gradients(
            golden.parameters_of({"MLP": student}), golden.prefixed(file, "student_grad.")
        )


@pytest.mark.parametrize("name", CRASHES_IN_THE_RELEASE)
def test_widths_at_which_the_release_crashes_work_here(name):
    file = golden.load(f"teacher_student_{name}")
    assert file["teacher_forward_ok"] == 0
    d, latent = map(int, name.split("_"))
    out = teacher_of(d, latent, F.leaky_relu)({"m": file["x"]}).embeddings["m"]
    assert out.shape == (len(file["x"]), latent)
    torch.testing.assert_close(out.norm(dim=1), torch.ones(len(out), dtype=torch.float64))


@pytest.mark.data
@pytest.mark.parametrize("activation", [F.leaky_relu, None])
def test_teacher_of_the_widest_file_equals_the_release(data_dir, monkeypatch, activation):
    monkeypatch.setattr(golden, "FOLDER", data_dir.parent / "golden")
    file = golden.load("teacher_student_4096_64")
    teacher = teacher_of(4096, 64, activation)
    modules = {f"transfer_multilayer.{i}": x for i, x in enumerate(teacher.extractors["m"])}
    golden.assign(golden.parameters_of(modules), golden.prefixed(file, "teacher."))
    out = teacher({"m": file["x"]}).embeddings["m"]
    golden.close(out, file["teacher_out" if activation else "teacher_out_noact"])


@pytest.mark.parametrize("multiplicity", [False, True])
@pytest.mark.parametrize("modality", ["v", "t"])
@pytest.mark.parametrize("noact", ["", "_noact"])
@pytest.mark.parametrize("temperature", [1, 10, 100])
def test_extractor_losses_equal_the_release(temperature, noact, modality, multiplicity):
    file = golden.load(f"feature_extractor_t{temperature}{noact}")
    activation = None if noact else F.leaky_relu
    features = file[modality.upper()]
    weights = release.Weights(file["ce"], file["kd"], file["t"])
    preset = release.settings(
        {"m": features.shape[1]}, 7, out_features=16, weights=weights, activation=activation
    )
    teacher = preset.teacher.double()
    student = preset.student(torch.nn.Linear(features.shape[1], 16, dtype=torch.float64))
    parameters = golden.parameters_of(golden.extractor(teacher, student, "m"))
    golden.assign(parameters, golden.prefixed(file, f"{modality}.param."))

    nodes, counts = file["nodes"], None
    golden.close(teacher({"m": features[nodes]}).embeddings["m"], file[f"{modality}.teacher_x"])
    golden.close(student(features), file[f"{modality}.student_all"])
    if multiplicity:
        nodes, counts = nodes.unique(return_counts=True)
        assert len(nodes) < len(file["nodes"])
    x = features[nodes]
    terms = preset.loss.terms(
        teacher({"m": x}), teacher.judge({"m": student.embed(x)}), file["label"][nodes], counts
    )
    golden.close(terms.classification, file[f"{modality}.label_class_loss"])
    golden.close(terms.response, file[f"{modality}.label_kd_loss"])
    golden.close(terms.feature, file[f"{modality}.feature_constraint_loss"])
    golden.close(terms.total, file[f"{modality}.loss"])
    terms.total.backward()
    golden.assert_gradients(parameters, golden.prefixed(file, f"{modality}.grad."))


def test_fusion_equals_the_release():
    file = golden.load("feature_fusion")
    parts = [x.clone().requires_grad_() for x in file["fusion"].split(16, dim=1)]
    labels = file["label"][file["nodes"]]
    for activation, key in ((F.leaky_relu, "loss"), (None, "loss_no_act")):
        teacher = SemanticTeacher({"a": 8, "b": 8}, 16, 7, fusion_activation=activation).double()
        parameters = golden.parameters_of(golden.fusion(teacher))
        golden.assign(parameters, golden.prefixed(file, "param."))
        loss = F.cross_entropy(teacher.fuse(dict(zip("ab", parts, strict=True))), labels)
        golden.close(loss, file[key])
        if activation:
            loss.backward()
            golden.assert_gradients(parameters, golden.prefixed(file, "grad."))
            golden.close(torch.cat([x.grad for x in parts], dim=1), file["grad_fusion"])


def test_the_preset_is_reachable_argument_by_argument():
    hidden = {"m": hidden_widths(256, 16, minimum=0)}
    teacher = SemanticTeacher({"m": 256}, 16, 7, hidden_features=hidden, inner_activation=None)
    loss = SGFDLoss(
        ce_weight=0.7,
        kd_weight=0.3,
        temperature=10,
        detach_teacher=False,
        classification=release.cross_entropy_of_probabilities,
        response=release.mean_absolute_difference,
        feature=release.mean_squared_error,
    )
    preset = release.settings({"m": 256}, 7, out_features=16, weights=release.Weights(0.7, 0.3, 10))
    teacher.load_state_dict(preset.teacher.state_dict())
    student = preset.student(torch.nn.Linear(256, 16))
    x, labels = torch.randn(9, 256), torch.tensor([0, 1, 2, 3, 4, 5, 6, -1, 2])
    learned = teacher.judge({"m": student.embed(x)})
    ours = loss(teacher({"m": x}), learned, labels)
    assert torch.equal(ours, preset.loss(preset.teacher({"m": x}), learned, labels))


def test_published_weights():
    assert release.BM3_OFFICE == (0.1, 0.01, 50)
    assert release.BM3_CLOTHING == (0.01, 0.1, 100)
    assert release.BM3_TOYS == (0.1, 0.01, 5)
    assert release.GRCN_OFFICE == (1, 1, 100)
    assert release.GRCN_CLOTHING == (0.01, 0.01, 100)
    assert release.GRCN_TOYS == (0.1, 1, 10)
