"""One product through a student serves the recommender and the distillation loss."""

import copy

import pytest
import torch
from torch import nn

from sgfd import FeatureStudent, distill, paper_student

ITEMS = 12


class Catalog(nn.Module):
    """Reads the whole catalog, or the batch's rows, and may do something to what it read."""

    def __init__(self, *, whole, then=lambda x: x):
        super().__init__()
        self.whole, self.then = whole, then
        self.register_buffer("image", torch.randn(ITEMS, 8, generator=torch.manual_seed(0)))
        self.visual = nn.Linear(8, 4)

    def calculate_loss(self, items):
        rows = items.unique()
        read = self.visual(self.image) if self.whole else self.visual(self.image[rows])
        read = self.then(read)
        return (read[rows] if self.whole else read).square().sum()


def wrap(backbone, student=FeatureStudent.adopt, items=lambda items: items):
    return distill(
        backbone,
        {"image": backbone.image.clone()},
        torch.arange(ITEMS) % 3,
        loss_method="calculate_loss",
        items=items,
        student=student,
    )


def products(model, call):
    """How often the student multiplies in a call."""
    counted = []
    student = model.student("image")
    plain = nn.Linear.forward

    def counting(self, x):
        counted.append(self is student)
        return plain(self, x)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Linear, "forward", counting)
        call()
    return sum(counted)


def other_student(linear):
    return FeatureStudent.adopt(linear, activation=torch.tanh)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize(
    ("student", "expected"), [(FeatureStudent.adopt, 1), (paper_student, 1), (other_student, 2)]
)
def test_equal_rows_are_multiplied_once_with_the_same_loss_and_gradients(whole, student, expected):
    model = wrap(Catalog(whole=whole), student)
    apart = copy.deepcopy(model)
    items = torch.tensor([5, 2, 2, 9])
    loss = []
    assert products(model, lambda: loss.append(model.calculate_loss(items))) == expected
    expected_loss = apart.backbone.calculate_loss(items) + apart.distillation_loss(items)
    torch.testing.assert_close(loss[0], expected_loss)
    loss[0].backward()
    expected_loss.backward()
    for ours, theirs in zip(model.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)


def test_rows_that_differ_are_not_reused():
    model = wrap(Catalog(whole=True))
    model.backbone.image += 1
    items = torch.tensor([5, 2])
    with pytest.warns(UserWarning, match="other rows than"):
        assert products(model, lambda: model.calculate_loss(items)) == 2


def test_an_output_changed_in_place_is_not_reused():
    model = wrap(Catalog(whole=True, then=lambda x: x.add_(1)))
    items = torch.tensor([5, 2])
    assert products(model, lambda: model.calculate_loss(items)) == 2
    model.calculate_loss(items).backward()


def test_nothing_is_kept_after_the_loss_nor_when_it_fails():
    model = wrap(Catalog(whole=True))
    model.calculate_loss(torch.tensor([1]))
    assert not model._reuse._seen
    broken = wrap(Catalog(whole=True), items=lambda items: items + ITEMS)
    with pytest.raises(ValueError, match="items must be in"):
        broken.calculate_loss(torch.tensor([1]))
    assert not broken._reuse._seen
    # Outside of the augmented loss the own loop's distillation loss computes by itself.
    assert products(model, lambda: model.distillation_loss(torch.tensor([1]))) == 1
