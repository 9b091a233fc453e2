import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from sgfd import FeatureStudent, paper_student


def test_the_default_is_the_papers_student():
    student = FeatureStudent(6, 3)
    x = torch.randn(5, 6)
    z = F.leaky_relu(x @ student.weight.T + student.bias, 0.01)
    torch.testing.assert_close(student(x), z / z.norm(dim=1, keepdim=True))
    assert torch.equal(student(x), student.embed(x))


def test_an_adopted_layer_keeps_its_function_to_the_bit_and_its_parameters():
    linear = nn.Linear(6, 3).eval()
    optimizer = torch.optim.SGD(linear.parameters(), lr=0.1)
    state = torch.get_rng_state()
    student = FeatureStudent.adopt(linear)
    assert torch.equal(torch.get_rng_state(), state)  # no random number is drawn
    x = torch.randn(5, 6)
    assert torch.equal(student(x), linear(x))
    assert isinstance(student, nn.Linear)
    assert not student.training
    assert dict(student.named_parameters()).keys() == dict(linear.named_parameters()).keys()
    before = student.weight.clone()
    student.embed(x).square().sum().backward()
    student(x).square().sum().backward()
    optimizer.step()
    assert not torch.equal(student.weight, before)


def test_embed_is_activated_and_normalized_whatever_forward_is():
    student = FeatureStudent.adopt(nn.Linear(6, 3))
    x = torch.randn(5, 6)
    z = F.leaky_relu(student(x))
    torch.testing.assert_close(student.embed(x), F.normalize(z))


def test_forward_and_embed_are_set_apart():
    linear = nn.Linear(6, 3)
    student = FeatureStudent.adopt(
        linear, activation=torch.tanh, normalize=False, embed_activation=None, embed_normalize=True
    )
    x = torch.randn(5, 6)
    torch.testing.assert_close(student(x), linear(x).tanh())
    torch.testing.assert_close(student.embed(x), F.normalize(linear(x)))


def test_a_layer_without_bias_has_a_student_without():
    student = FeatureStudent.adopt(nn.Linear(6, 3, bias=False))
    assert student.bias is None
    assert student.embed(torch.randn(2, 6)).shape == (2, 3)


def test_half_and_double_stay_what_they_are():
    for dtype in (torch.bfloat16, torch.float64):
        student = FeatureStudent.adopt(nn.Linear(6, 3, dtype=dtype))
        assert student.embed(torch.randn(2, 6, dtype=dtype)).dtype == dtype


def test_a_subclass_of_linear_is_not_adopted():
    class Scaled(nn.Linear):
        def forward(self, input):
            return 2 * super().forward(input)

    with pytest.raises(TypeError, match=r"exactly an nn\.Linear.*got .*Scaled"):
        FeatureStudent.adopt(Scaled(6, 3))


def test_a_layer_with_hooks_or_parametrization_is_not_adopted():
    hooked = nn.Linear(6, 3)
    hooked.register_forward_pre_hook(lambda *_: None)
    with pytest.raises(ValueError, match=r"has hooks \(_forward_pre_hooks\)"):
        paper_student(hooked)
    with pytest.raises(ValueError, match="is parametrized"):
        FeatureStudent.adopt(nn.utils.parametrizations.weight_norm(nn.Linear(6, 3)))


def test_a_row_without_direction_has_no_runaway_gradient():
    # Items without an image are rows of zeros, and some models start with zero biases.
    student = FeatureStudent(6, 3)
    nn.init.zeros_(student.bias)
    x = torch.randn(4, 6)
    x[2] = 0
    out = student.embed(x)
    assert not out[2].any()
    (out * torch.randn(4, 3)).sum().backward()
    assert student.bias.grad.abs().max() < 100


def test_a_copy_is_independent():
    student = FeatureStudent(6, 3)
    other = copy.deepcopy(student)
    x = torch.randn(2, 6)
    assert torch.equal(other(x), student(x))
    assert other.weight is not student.weight
