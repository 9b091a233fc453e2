"""One student= for all modalities, or one for each."""

import functools

import pytest
import strangers
import torch
from strangers import batch, batch_items, features, labels
from torch import nn

from sgfd import FeatureStudent, distill, paper_student


@pytest.fixture(autouse=True)
def _same_parameters_every_time():
    torch.manual_seed(5)


def wrap(student, model=None, given=None):
    return distill(
        model or strangers.SeparateBuffers(),
        given or features(),
        labels(),
        student=student,
        loss_method="calculate_loss",
        items=batch_items,
    )


def test_a_modality_has_the_student_named_for_it_and_the_others_the_default():
    model = strangers.SeparateBuffers()
    x = features()
    before = model.text_trs(x["text"])
    wrapped = wrap({"image": paper_student}, model)
    image, text = wrapped.student("image"), wrapped.student("text")
    assert (image.normalize, text.normalize, text.activation) == (True, False, None)
    torch.testing.assert_close(image(x["image"]).norm(dim=1), torch.ones(len(x["image"])))
    assert torch.equal(text(x["text"]), before)  # to the bit
    wrapped.calculate_loss(batch()).backward()


def test_activation_and_normalization_are_switched_each_by_itself():
    makers = {
        "image": functools.partial(FeatureStudent.adopt, activation=torch.tanh),
        "text": functools.partial(FeatureStudent.adopt, normalize=True),
    }
    model = strangers.SeparateBuffers()
    x = features()
    linear = {m: getattr(model, f"{m}_trs")(x[m]) for m in x}
    wrapped = wrap(makers, model)
    assert torch.equal(wrapped.student("image")(x["image"]), torch.tanh(linear["image"]))
    expected = linear["text"] / linear["text"].norm(dim=1, keepdim=True)
    torch.testing.assert_close(wrapped.student("text")(x["text"]), expected)


def test_students_that_are_not_for_a_modality_or_not_functions_are_refused():
    model = strangers.SeparateBuffers()
    with pytest.raises(ValueError, match=r"student names modalities without features: \['audio'\]"):
        wrap({"audio": paper_student}, model)
    with pytest.raises(TypeError, match="must be a function .* got 'paper' for 'image'"):
        wrap({"image": "paper"}, model)
    with pytest.raises(TypeError, match="must be a function .* got None for 'image'"):
        wrap(None, model)
    with pytest.raises(TypeError, match=r"must make a FeatureStudent .* for 'text' it made Linear"):
        wrap({"text": lambda linear: linear}, model)
    assert type(model.image_trs) is nn.Linear
    assert type(model.text_trs) is nn.Linear


def test_one_layer_of_two_modalities_has_one_student():
    def shared(student):
        given = {m: torch.randn(strangers.ITEMS, 5) for m in ("title", "desc")}
        return distill(
            nn.ModuleDict({"layer": nn.Linear(5, 3)}),
            given,
            labels(),
            projections=dict.fromkeys(given, "layer"),
            student=student,
        )

    with pytest.raises(ValueError, match="'title' and 'desc' are read through one layer"):
        shared({"title": paper_student})
    assert shared({"title": paper_student, "desc": paper_student}).student("desc").normalize
    assert not shared({"title": FeatureStudent.adopt}).student("desc").normalize  # is the default
