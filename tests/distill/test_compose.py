"""distill() within what people do to models: precision, moves, copies, freezing, checkpoints."""

import copy

import numpy as np
import pytest
import strangers
import torch
from devices import DEVICES
from scipy.sparse import csr_array
from strangers import ITEMS, USERS, batch, batch_items, features, labels
from torch import nn

import sgfd
from sgfd import distill, paper_student
from sgfd.backbones import VBPR


@pytest.fixture(autouse=True)
def _same_parameters_every_time():
    torch.manual_seed(5)


def wrap(model=None, given=None, **options):
    options = {"loss_method": "calculate_loss", "items": batch_items} | options
    return distill(model or strangers.SeparateBuffers(), given or features(), labels(), **options)


def ours():
    interactions = csr_array(np.arange(USERS * ITEMS).reshape(USERS, ITEMS) % 3 == 0, dtype=float)
    return distill(VBPR(interactions, features(), dim=4), features(), labels())


def triples():
    users, items, negatives = batch()
    return users, items, negatives[:, None]


def result(model, loss):
    """The loss and every gradient, None where there is none."""
    model.zero_grad()
    value = loss()
    value.backward()
    return value.detach(), {k: p.grad for k, p in model.named_parameters()}


def assert_same(model, one, other, **tolerance):
    (a, grads), (b, others) = result(model, one), result(model, other)
    torch.testing.assert_close(a, b, **tolerance)
    assert [k for k, g in grads.items() if g is None] == [k for k, g in others.items() if g is None]
    for key, grad in grads.items():
        torch.testing.assert_close(grad, others[key], **tolerance)


def train(model, loss, steps=60):
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


# Precision and place


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("student", [sgfd.FeatureStudent.adopt, paper_student])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_around_the_loss_is_a_less_precise_loss(dtype, student, device):
    model = wrap(student=student).to(device)
    given = [x.to(device) for x in batch()]

    def mixed(loss):
        with torch.autocast(device, dtype):
            return loss(given)

    def apart(interaction):
        own = model.backbone.calculate_loss(interaction)
        return own + model.distillation_loss(batch_items(interaction))

    # What the student computed for the recommender serves the distillation loss here too.
    assert_same(
        model,
        lambda: mixed(model.calculate_loss),
        lambda: mixed(apart),
        rtol=4 * torch.finfo(dtype).eps,
        atol=4 * torch.finfo(dtype).eps,
    )
    value, gradients = result(model, lambda: mixed(model.calculate_loss))
    assert value.dtype == torch.float32
    assert {g.dtype for g in gradients.values()} == {torch.float32}
    torch.testing.assert_close(value, model.calculate_loss(given).detach(), rtol=0.02, atol=0)
    train(model, lambda: mixed(model.calculate_loss))  # and without a warning


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_converted_after_wrapping_it_computes_in_the_new_precision(dtype):
    model = wrap()
    expected = model.calculate_loss(batch()).detach()
    model.to(dtype)
    assert {p.dtype for p in model.parameters()} == {dtype}
    got = model.calculate_loss(batch())
    tolerance = 1e-6 if dtype == torch.float64 else 0.02
    torch.testing.assert_close(got.detach().float(), expected, rtol=tolerance, atol=0)
    assert {x.dtype for x in model.export().values()} == {dtype}
    train(model, lambda: model.calculate_loss(batch()))


def test_converted_to_double_it_equals_what_was_double_before():
    model = strangers.SeparateBuffers()
    given = {m: x.double() for m, x in features().items()}
    before, after = wrap(copy.deepcopy(model).double(), given), wrap(model).double()
    after.load_state_dict(before.state_dict())
    assert_same(
        after,
        lambda: after.calculate_loss(batch()),
        lambda: (
            after.backbone.calculate_loss(batch()) + after.distillation_loss(batch_items(batch()))
        ),
    )
    torch.testing.assert_close(
        after.calculate_loss(batch()), before.calculate_loss(batch()), rtol=1e-12, atol=0
    )


def test_moved_after_wrapping_everything_moves():
    lacking = features()
    lacking["image"][3] = torch.nan
    masks = {"text": torch.arange(ITEMS) == 5}
    model = wrap(strangers.TrainableEmbedding(), lacking, missing=masks).to("meta")
    tensors = [*model.parameters(), *model.buffers()]
    assert {t.device.type for t in tensors} == {"meta"}
    assert {"_labels", "_missing"} <= {name for name, _ in model.named_buffers()}
    # The layer where the recommender has it is still the student that the hooks are on.
    assert model.student("image") is model.backbone.image_trs
    assert model.student("image")._forward_hooks


# Copies


def test_the_hooks_of_a_copy_act_on_the_copy():
    model = wrap(strangers.TrainableEmbedding(), {"image": "image_embedding"})
    other = copy.deepcopy(model)
    hooks = [
        hook.__self__
        for table in ("_forward_hooks", "_forward_pre_hooks")
        for hook in getattr(other.student("image"), table).values()
    ]
    assert len(hooks) == 3
    owners = (other._watch.students["image"], other._products["image"])
    assert {id(h) for h in hooks} == {id(owner) for owner in owners}
    assert other._watch.backbone is other.backbone
    assert other._watch.teacher is other.teacher

    other.calculate_loss(batch())
    assert (other._watch.taken, model._watch.taken) == (1, 0)
    assert not model._watch.students["image"].called

    before = model.distillation_loss(torch.arange(ITEMS))
    with torch.no_grad():
        other.image_embedding.weight.add_(1)  # read live: each its own
    assert torch.equal(model.distillation_loss(torch.arange(ITEMS)), before)

    other.unwrap()
    assert not other.backbone.image_trs._forward_hooks
    assert len(model.student("image")._forward_hooks) == 2


def test_a_copy_in_the_middle_of_training_goes_on_by_itself():
    model = wrap()
    train(model, lambda: model.calculate_loss(batch()), steps=30)
    other = copy.deepcopy(model)
    train(other, lambda: other.calculate_loss(batch()), steps=30)
    assert (model._watch.losses, other._watch.losses) == (30, 50)
    train(model, lambda: model.calculate_loss(batch()), steps=30)
    for a, b in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)


def test_items_of_a_copy_are_the_copys_own():
    model = ours()
    other = copy.deepcopy(model)
    assert other._items.__self__ is other.backbone
    assert torch.equal(other(triples()), model(triples()))


# Frozen in part


def test_a_frozen_recommender_leaves_the_teacher_to_train():
    model = wrap()
    model.backbone.requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    train(model, lambda: model.calculate_loss(batch()))
    moved = {k for k, v in model.state_dict().items() if not torch.equal(v, before[k])}
    assert moved
    assert all(k.startswith("teacher.") for k in moved)


def test_a_frozen_teacher_leaves_the_students_to_follow():
    model = wrap(loss=sgfd.SGFDLoss(ce_weight=1, kd_weight=1))
    model.teacher.requires_grad_(False)
    before = copy.deepcopy(model.teacher.state_dict())
    distance = model.distillation_terms(torch.arange(ITEMS)).feature
    train(model, lambda: model.calculate_loss(batch()))
    assert model.distillation_terms(torch.arange(ITEMS)).feature < distance
    assert all(torch.equal(v, before[k]) for k, v in model.teacher.state_dict().items())


@pytest.mark.parametrize("frozen", [["image"], ["image", "text"]])
def test_frozen_students_stay_and_the_rest_trains(frozen):
    model = wrap()
    for m in frozen:
        model.student(m).requires_grad_(False)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    train(model, lambda: model.calculate_loss(batch()))
    kept = {k for k, v in model.state_dict().items() if torch.equal(v, before[k])}
    buffers = {f"backbone.{m}_feat" for m in features()}
    assert kept - buffers == {f"backbone.{m}_trs.{p}" for m in frozen for p in ("weight", "bias")}


def test_a_teacher_frozen_in_part_in_the_middle_of_training_is_no_problem():
    model = wrap()
    train(model, lambda: model.calculate_loss(batch()), steps=30)
    model.teacher.extractors.requires_grad_(False)
    train(model, lambda: model.calculate_loss(batch()), steps=30)
    assert model._watch.losses == 50


def test_a_model_frozen_throughout_still_scores():
    model = wrap().requires_grad_(False)
    assert not model.calculate_loss(batch()).requires_grad


# Checkpoints


def test_a_state_dict_goes_into_a_model_made_anew(tmp_path):
    model = wrap(strangers.TrainableEmbedding(), {"image": "image_embedding"})
    train(model, lambda: model.calculate_loss(batch()), steps=3)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    other = wrap(strangers.TrainableEmbedding(), {"image": "image_embedding"}, seed=9)
    state = torch.load(tmp_path / "model.pt", weights_only=True)
    assert other.load_state_dict(state) == ([], [])
    users = torch.arange(USERS)
    assert torch.equal(other.full_sort_predict(users), model.full_sort_predict(users))
    assert torch.equal(other.calculate_loss(batch()), model.calculate_loss(batch()))


def test_checkpoints_of_the_recommender_fit_before_and_after():
    plain = strangers.SeparateBuffers()
    checkpoint = {k: v.clone() for k, v in plain.state_dict().items()}
    scores = plain.full_sort_predict(torch.arange(USERS))
    model = wrap()  # another, with parameters of its own
    assert model.backbone.load_state_dict(checkpoint) == ([], [])
    assert torch.equal(model.full_sort_predict(torch.arange(USERS)), scores)
    train(model, lambda: model.calculate_loss(batch()), steps=3)
    assert plain.load_state_dict(model.unwrap().state_dict()) == ([], [])
    trained = model.full_sort_predict(torch.arange(USERS))
    assert torch.equal(plain.full_sort_predict(torch.arange(USERS)), trained)


def test_an_optimizer_made_before_goes_on_with_its_state():
    model = strangers.SeparateBuffers()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model.calculate_loss(batch()).backward()
    optimizer.step()
    wrapped = wrap(model)
    optimizer.add_param_group({"params": list(wrapped.teacher.parameters())})
    momentum = optimizer.state[model.image_trs.weight]["exp_avg"].clone()
    wrapped.calculate_loss(batch()).backward()
    optimizer.step()
    assert not torch.equal(optimizer.state[wrapped.student("image").weight]["exp_avg"], momentum)
    assert optimizer.state[wrapped.student("image").weight]["step"] == 2


def test_distilling_part_of_what_is_distilled_is_refused():
    model = wrap()
    with pytest.raises(ValueError, match="got Distilled. Distil once"):
        wrap(model)
    with pytest.raises(ValueError, match="is a student already: a backbone can be distilled once"):
        distill(nn.ModuleDict({"inner": model.backbone}), {"image": features()["image"]}, labels())
