import re
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from sgfd import SemanticTeacher
from sgfd._chain import fold, folding_pays, hidden_widths


def test_derived_widths_are_those_of_the_paper():
    assert hidden_widths(4096, 64) == (1024, 256)
    assert hidden_widths(4096, 128) == (1024, 256)
    assert hidden_widths(384, 64) == (96,)
    assert hidden_widths(256, 16, ratio=2) == (128, 64, 32)


def test_a_teacher_is_always_deeper_than_its_student():
    for width in (7, 50, 64, 100, 384):
        teacher = SemanticTeacher({"m": width}, 64, 3)
        assert len(teacher.extractors["m"]) >= 2
    assert hidden_widths(100, 64, minimum=0) == ()


@pytest.mark.parametrize("width", [1000, 770, 50, 7])
def test_any_width_works(width):
    said = SemanticTeacher({"m": width}, 64, 5)({"m": torch.randn(3, width)})
    assert said.embeddings["m"].shape == (3, 64)
    torch.testing.assert_close(said.embeddings["m"].norm(dim=1), torch.ones(3))


def test_forward_equals_the_equations_written_out():
    hidden = {"a": [8, 7], "b": []}
    teacher = SemanticTeacher({"a": 9, "b": 5}, {"a": 4, "b": 3}, 6, hidden_features=hidden)
    x = {"a": torch.randn(10, 9), "b": torch.randn(10, 5)}
    said = teacher(x)

    def lrelu(z):
        return z.clamp(min=0) + 0.01 * z.clamp(max=0)

    a = x["a"]
    for layer in teacher.extractors["a"]:
        a = lrelu(a @ layer.weight.T + layer.bias)
    (only,) = teacher.extractors["b"]
    b = lrelu(x["b"] @ only.weight.T + only.bias)
    a, b = (z / z.norm(dim=1, keepdim=True) for z in (a, b))
    torch.testing.assert_close(said.embeddings["a"], a)
    torch.testing.assert_close(said.embeddings["b"], b)
    for m, z in (("a", a), ("b", b)):
        head = teacher.classifiers[m]
        torch.testing.assert_close(said.logits[m], z @ head.weight.T + head.bias)
    u, v = teacher.fusion_transfer, teacher.fusion_classifier
    fused = lrelu(torch.cat([a, b], 1) @ u.weight.T + u.bias) @ v.weight.T + v.bias
    torch.testing.assert_close(said.fused_logits, fused)


def test_fusion_concatenates_in_the_order_of_in_features_whatever_comes():
    teacher = SemanticTeacher({"a": 9, "b": 5}, {"a": 4, "b": 3}, 6)
    assert teacher.fusion_transfer.out_features == 4  # the widest
    x = {"a": torch.randn(2, 4), "b": torch.randn(2, 3)}
    assert torch.equal(teacher.fuse({"b": x["b"], "a": x["a"]}), teacher.fuse(x))


def test_one_modality_is_not_fused_unless_asked():
    x = {"m": torch.randn(3, 8)}
    assert SemanticTeacher({"m": 8}, 4, 2)(x).fused_logits is None
    assert SemanticTeacher({"m": 8}, 4, 2, fusion=True)(x).fused_logits.shape == (3, 2)
    assert SemanticTeacher({"m": 8, "n": 8}, 4, 2, fusion=False).fusion_transfer is None


def test_judge_uses_the_teachers_own_classifiers():
    teacher = SemanticTeacher({"a": 9, "b": 5}, 4, 6)
    said = teacher({"a": torch.randn(7, 9), "b": torch.randn(7, 5)})
    judged = teacher.judge(said.embeddings)
    assert judged.fused_logits is None
    for m in "ab":
        assert torch.equal(judged.logits[m], said.logits[m])


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.integers(1, 40), min_size=2, max_size=5),
    rows=st.integers(1, 50),
    seed=st.integers(0, 2**31),
)
def test_a_folded_chain_equals_the_plain_chain_with_its_gradients(widths, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    layers = [nn.Linear(i, o, dtype=torch.float64) for i, o in pairwise(widths)]
    x = torch.randn(rows, widths[0], dtype=torch.float64, generator=generator, requires_grad=True)
    leaves = [x, *(p for layer in layers for p in layer.parameters())]
    cotangent = torch.randn(rows, widths[-1], dtype=torch.float64, generator=generator)

    plain = x
    for layer in layers:
        plain = layer(plain)
    folded = F.linear(x, *fold(layers))
    torch.testing.assert_close(folded, plain)
    torch.testing.assert_close(
        torch.autograd.grad((folded * cotangent).sum(), leaves),
        torch.autograd.grad((plain * cotangent).sum(), leaves),
    )


def test_folding_is_taken_only_where_it_saves_multiplications():
    layers = [nn.Linear(4096, 1024), nn.Linear(1024, 256), nn.Linear(256, 128)]
    assert folding_pays(layers, rows=1100)
    assert not folding_pays(layers, rows=24)
    assert not folding_pays(layers[:1], rows=10**6)


def test_an_activated_teacher_is_never_folded():
    torch.manual_seed(1)
    x = {"m": torch.randn(5000, 64)}
    teacher = SemanticTeacher({"m": 64}, 4, 3, inner_activation=F.leaky_relu)
    linear = SemanticTeacher({"m": 64}, 4, 3, inner_activation=None)
    linear.load_state_dict(teacher.state_dict())
    assert folding_pays(list(teacher.extractors["m"]), 5000)
    difference = teacher(x).embeddings["m"] - linear(x).embeddings["m"]
    assert difference.abs().max() > 1e-2


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (({}, 4, 3), "at least one modality"),
        (({"a.b": 3}, 4, 3), "got 'a.b'. Rename it"),
        (({"items": 3}, 4, 3), "got 'items'. Rename it"),
        (({"m": 3}, 0, 3), "out_features['m'] must be an integer of at least 1; got 0"),
        (({"m": 3}, 4, 1), "num_classes must be an integer of at least 2; got 1"),
        (({"m": 3}, {"n": 4}, 3), "out_features must have exactly the modalities ['m']; got ['n']"),
    ],
)
def test_bad_arguments_are_named(arguments, text):
    with pytest.raises(ValueError, match=re.escape(text)):
        SemanticTeacher(*arguments)


def test_bad_features_are_named():
    teacher = SemanticTeacher({"a": 9, "b": 5}, 4, 6)
    with pytest.raises(ValueError, match=r"exactly the modalities \['a', 'b'\]; got \['a'\]"):
        teacher({"a": torch.randn(7, 9)})
    with pytest.raises(
        ValueError, match=r"features\['b'\] must have width 5, .* got shape \(7, 6\)"
    ):
        teacher({"a": torch.randn(7, 9), "b": torch.randn(7, 6)})
    with pytest.raises(RuntimeError, match="fusion=True"):
        SemanticTeacher({"a": 9}, 4, 6).fuse({"a": torch.randn(7, 4)})
