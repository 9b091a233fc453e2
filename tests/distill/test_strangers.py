"""distill() on recommenders that know nothing of it."""

import copy

import pytest
import strangers
import torch
import torch.nn.functional as F
from strangers import DIM, ITEMS, USERS, WIDTHS, batch, batch_items, features, labels
from torch import nn

from sgfd import (
    DistillationWarning,
    FeatureStudent,
    ProjectionError,
    SGFDLoss,
    UnusedStudentWarning,
    distill,
    paper_student,
)

REACHED = [
    (strangers.SeparateBuffers, {}, {"image": "image_trs", "text": "text_trs"}),
    (strangers.Nested, {}, {"image": "encoder.image.0", "text": "encoder.text.0"}),
    (
        strangers.DeadTwin,
        {"image": "image_trs"},
        {"image": "image_trs", "text": "text_trs"},
    ),
    (strangers.TwoPaths, {}, {"image": "image_trs", "text": "text_trs"}),
]


def wrap(model: nn.Module, given=None, **options):
    options = {"loss_method": "calculate_loss", "items": batch_items} | options
    return distill(model, given or features(), labels(), **options)


@pytest.mark.parametrize(("kind", "named", "paths"), REACHED)
def test_the_recommender_stays_what_it_was_and_its_loss_gains_the_distillation(kind, named, paths):
    torch.manual_seed(1)
    model = kind()
    keys = list(model.state_dict())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    own, scores = model.calculate_loss(batch()), model.full_sort_predict(torch.arange(USERS))
    state = torch.get_rng_state()
    wrapped = wrap(model, projections=named)
    assert torch.equal(torch.get_rng_state(), state)

    assert wrapped.student_paths == paths
    assert list(model.state_dict()) == keys
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key])
    assert torch.equal(wrapped.full_sort_predict(torch.arange(USERS)), scores)
    extra = wrapped.distillation_loss(batch_items(batch()))
    assert extra > 0
    assert torch.equal(wrapped.calculate_loss(batch()), own + extra)
    for m in WIDTHS:
        assert isinstance(wrapped.student(m), FeatureStudent)


def test_a_layer_under_two_paths_is_replaced_at_both():
    model = strangers.TwoPaths()
    wrapped = wrap(model)
    assert model.image_trs is model.again[0]
    assert model.image_trs is wrapped.student("image")


def test_a_live_embedding_is_read_where_it_is_trained():
    model = strangers.TrainableEmbedding()
    given = {"image": "image_embedding", "text": features()["text"]}
    wrapped = wrap(model, given)
    before = wrapped.distillation_loss(torch.arange(ITEMS))
    with torch.no_grad():
        model.image_embedding.weight.mul_(-1)
    assert not torch.equal(wrapped.distillation_loss(torch.arange(ITEMS)), before)
    wrapped.distillation_loss(torch.tensor([2, 3])).backward()
    moved = model.image_embedding.weight.grad.abs().sum(1) > 0
    assert moved.nonzero().flatten().tolist() == [2, 3]


def test_a_concatenation_is_passed_as_one_modality():
    model = strangers.Concatenated()
    with pytest.raises(ProjectionError) as error:
        wrap(model)
    assert "joint: nn.Linear 16 -> 4" in str(error.value)
    assert "'joint' has the width of image and text together" in str(error.value)
    wrapped = wrap(model, {"both": torch.cat(list(features().values()), dim=1)})
    assert wrapped.student_paths == {"both": "joint"}
    assert wrapped.teacher.fusion_transfer is None


def test_a_dead_twin_makes_the_match_uncertain():
    with pytest.raises(ProjectionError) as error:
        wrap(strangers.DeadTwin())
    message = str(error.value)
    assert "features['image'] (width 10) is not certain: 2 layers have that width" in message
    assert "projections={'image': '<path>'}" in message
    for candidate in ("image_trs: nn.Linear 10 -> 4", "image_old: nn.Linear 10 -> 4", "text_trs"):
        assert candidate in message


def test_a_bare_parameter_cannot_be_replaced_and_is_listed():
    with pytest.raises(ProjectionError) as error:
        wrap(strangers.BareParameter())
    message = str(error.value)
    assert "No layer reads features['image'] (width 10): no nn.Linear has that" in message
    assert "projections=" not in message  # there is nothing to name
    assert "image_weight: nn.Parameter (10, 4)" in message
    assert "ids" not in message  # embeddings are no candidates


def test_a_layer_that_also_sees_users_is_reported():
    wrapped = wrap(strangers.SeesUsers())
    text = rf"'image_trs'.*was given {USERS + ITEMS} rows, more than there are items \({ITEMS}\)"
    with pytest.warns(DistillationWarning, match=text):
        wrapped.calculate_loss(batch())


def test_features_that_the_recommender_does_not_read_are_reported():
    given = features()
    given["text"] = given["text"] + 0.5
    wrapped = wrap(strangers.SeparateBuffers(), given)
    with pytest.warns(DistillationWarning, match=r"'text_trs'.*largest difference 0\.5\)"):
        wrapped.calculate_loss(batch())
    wrapped.calculate_loss(batch())  # once is enough


def test_features_that_the_recommender_trains_away_are_reported():
    wrapped = wrap(strangers.TrainableEmbedding())
    with pytest.warns(DistillationWarning, match=r"'image_trs'.*their dotted path if it trains"):
        train(wrapped, wrapped.parameters())
    live = {"image": "image_embedding", "text": features()["text"]}
    wrapped = wrap(strangers.TrainableEmbedding(), live)
    train(wrapped, wrapped.parameters())


def test_a_student_without_recommendation_gradient_is_reported():
    class Ignored(strangers.SeparateBuffers):
        def item_features(self):
            return super().item_features().detach()

    wrapped = wrap(Ignored())
    with pytest.warns(DistillationWarning) as caught:
        train(wrapped, wrapped.parameters())
    messages = [str(w.message) for w in caught]
    for name in ("image_trs", "text_trs"):
        assert sum(f"{name!r}" in m and "no gradient from the recomm" in m for m in messages) == 1


def test_a_layer_called_by_keyword_is_read_all_the_same():
    class ByKeyword(strangers.SeparateBuffers):
        def item_features(self):
            return self.image_trs(input=self.image_feat) + self.text_trs(self.text_feat)

    assert wrap(ByKeyword()).calculate_loss(batch()).isfinite()


def test_attributes_are_set_where_the_recommender_reads_them():
    model = strangers.SeparateBuffers()
    model.annealing = 1.0
    wrapped = wrap(model)
    wrapped.annealing = 0.5
    assert model.annealing == 0.5
    wrapped.note = "mine"
    assert wrapped.note == "mine"
    assert not hasattr(model, "note")
    wrapped.teacher = None  # the wrapper's own stay its own
    assert wrapped.teacher is None
    assert not hasattr(model, "teacher")


def test_features_in_half_precision_are_the_same_features():
    given = {m: x.half() for m, x in features().items()}
    assert wrap(strangers.SeparateBuffers(), given).calculate_loss(batch()).isfinite()


def train(model, parameters, steps=60, make=lambda p: torch.optim.SGD(p, lr=0.1)):
    optimizer = make(parameters)
    for _ in range(steps):
        optimizer.zero_grad()
        model.calculate_loss(batch()).backward()
        optimizer.step()


def test_a_projection_that_is_never_called_is_reported():
    wrapped = wrap(strangers.NeverCalled())
    with pytest.warns(DistillationWarning, match="'image_trs'.*was never called while 50 losses"):
        train(wrapped, wrapped.parameters())


def test_an_optimizer_made_before_owns_the_students_but_not_the_teacher():
    model = strangers.SeparateBuffers()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    owned = {id(p) for group in optimizer.param_groups for p in group["params"]}
    wrapped = wrap(model)
    assert {id(p) for p in wrapped.backbone.parameters()} == owned
    with pytest.warns(DistillationWarning, match="the students changed and the teacher did not"):
        train(wrapped, model.parameters())


def test_a_teacher_that_trains_or_is_frozen_is_not_reported():
    wrapped = wrap(strangers.SeparateBuffers())
    train(wrapped, wrapped.parameters())
    frozen = wrap(strangers.SeparateBuffers())
    frozen.teacher.requires_grad_(False)
    train(frozen, frozen.backbone.parameters())


@pytest.mark.parametrize(
    "options", [{"fused": True}, {"foreach": True}, {"foreach": False}], ids=str
)
def test_no_kind_of_optimizer_hides_that_the_teacher_trains(options):
    wrapped = wrap(strangers.SeparateBuffers())
    train(wrapped, wrapped.parameters(), make=lambda p: torch.optim.Adam(p, **options))


def test_a_teacher_left_out_is_reported_of_a_copy_too():
    wrapped = copy.deepcopy(wrap(strangers.SeparateBuffers()))
    with pytest.warns(DistillationWarning, match="the teacher did not"):
        train(wrapped, wrapped.backbone.parameters())


def test_accumulation_controls_warm_ups_and_frozen_students_are_not_reported():
    accumulating = wrap(strangers.SeparateBuffers())
    for _ in range(60):
        accumulating.calculate_loss(batch()).backward()
    control = wrap(strangers.SeparateBuffers(), loss=SGFDLoss(ce_weight=0, kd_weight=0))
    train(control, control.parameters())
    warm = wrap(strangers.SeparateBuffers())
    optimizer = torch.optim.SGD(warm.teacher.parameters(), lr=0.1)
    for _ in range(60):
        warm.distillation_loss(torch.arange(ITEMS)).backward()
        optimizer.step()
    frozen = wrap(strangers.SeparateBuffers())
    frozen.backbone.requires_grad_(False)
    frozen.users.weight.requires_grad_(True)
    train(frozen, [p for p in frozen.parameters() if p.requires_grad])


def test_inference_is_not_watched():
    wrapped = wrap(strangers.SeparateBuffers())
    wrapped.encode({"image": torch.randn(ITEMS, 10)})  # as many rows as there are items
    wrapped.export()
    wrapped.eval()
    wrapped.full_sort_predict(torch.arange(USERS))
    assert all(
        watch._input is None and not watch.called for watch in wrapped._watch.students.values()
    )
    wrapped.distillation_loss(torch.arange(ITEMS))


def test_a_recommender_keeps_attributes_that_have_the_wrappers_names():
    class Namesake(strangers.SeparateBuffers):
        def __init__(self):
            super().__init__()
            self.teacher = nn.Linear(3, 3)
            self.student_paths, self._items, self._hooks, self._watch = 1, 2, 3, 4
            self.register_buffer("_labels", torch.ones(2))

    model = Namesake()
    keys = list(model.state_dict())
    with pytest.warns(UserWarning, match="The recommender has 'student_paths', 'teacher', and"):
        wrapped = wrap(model)
    assert type(model.teacher) is nn.Linear
    assert (model.student_paths, model._items, model._hooks, model._watch) == (1, 2, 3, 4)
    assert list(model.state_dict()) == keys
    assert wrapped.calculate_loss(batch()).isfinite()
    assert "teacher" in wrapped._modules


def test_training_moves_students_towards_the_teacher():
    torch.manual_seed(0)
    wrapped = wrap(strangers.SeparateBuffers(), loss=SGFDLoss(ce_weight=1, kd_weight=1))
    before = wrapped.distillation_terms(torch.arange(ITEMS))
    train(wrapped, wrapped.parameters(), steps=300)
    after = wrapped.distillation_terms(torch.arange(ITEMS))
    assert after.feature < before.feature / 2
    assert after.classification < before.classification


def test_a_tuple_of_losses_gains_it_in_its_first_element():
    torch.manual_seed(1)
    model = strangers.TupleLoss()
    own = model.calculate_loss(batch())
    wrapped = wrap(model)
    extra = wrapped.distillation_loss(batch_items(batch()))
    got = wrapped.calculate_loss(batch())
    assert isinstance(got, tuple)
    assert torch.equal(got[0], own[0] + extra)
    assert torch.equal(got[1], own[1])


def test_items_are_read_before_the_loss_changes_the_batch():
    torch.manual_seed(1)
    model = strangers.ChangesTheBatch()
    own = model.calculate_loss(batch())
    wrapped = wrap(model, items=lambda interaction: interaction[1])
    extra = wrapped.distillation_loss(batch()[1])
    assert torch.equal(wrapped.calculate_loss(batch()), own + extra)


def test_without_a_loss_method_nothing_is_added():
    model = strangers.SeparateBuffers()
    wrapped = distill(model, features(), labels())
    assert torch.equal(wrapped.calculate_loss(batch()), model.calculate_loss(batch()))
    with pytest.raises(RuntimeError, match=r"loss_method= and items=, or add distillation_loss"):
        wrapped.loss_and_terms(batch())


def test_a_copy_is_whole_and_independent():
    wrapped = wrap(strangers.SeparateBuffers())
    other = copy.deepcopy(wrapped)
    assert torch.equal(other.calculate_loss(batch()), wrapped.calculate_loss(batch()))
    assert other.student("image") is other.backbone.image_trs
    assert other.student("image").weight is not wrapped.student("image").weight
    with torch.no_grad():
        other.student("image").weight.zero_()
    assert not torch.equal(other.calculate_loss(batch()), wrapped.calculate_loss(batch()))


def test_unwrap_gives_the_recommender_alone():
    model = strangers.SeparateBuffers()
    twin, parameters = copy.deepcopy(model), dict(model.named_parameters())
    wrapped = wrap(model)
    wrapped.eval()
    before = wrapped.export()
    assert wrapped.unwrap() is model
    assert [type(m) for m in model.modules()] == [type(m) for m in twin.modules()]
    assert not model.image_trs.training
    assert {name: id(p) for name, p in model.named_parameters()} == {
        name: id(p) for name, p in parameters.items()
    }
    # What distill() returned can still say what it knows, of the recommender as it is.
    for m, x in wrapped.export().items():
        assert torch.equal(x, before[m])
    model.load_state_dict({k: 2 * v for k, v in model.state_dict().items()}, assign=True)
    for m, x in wrapped.export().items():
        assert torch.equal(x, 2 * before[m])
    # And it may be distilled anew, with other labels say.
    again = distill(model, features(), labels().flip(0))
    assert again.student("image") is model.image_trs


def test_unwrap_leaves_students_that_compute_something_of_their_own():
    model = wrap(strangers.SeparateBuffers(), student={"image": paper_student})
    scores = model.full_sort_predict(torch.arange(USERS))
    model.student("text").register_forward_hook(lambda *_: None)
    backbone = model.unwrap()
    assert isinstance(backbone.image_trs, FeatureStudent)
    assert not backbone.image_trs._forward_pre_hooks
    assert isinstance(backbone.text_trs, FeatureStudent)  # a hook of one's own
    assert torch.equal(backbone.full_sort_predict(torch.arange(USERS)), scores)


@pytest.mark.parametrize("loss", [lambda x: x, lambda x: (x, 1), lambda x: {"loss": x}])
def test_a_loss_that_is_not_one_number_is_refused(loss):
    class PerPair(strangers.SeparateBuffers):
        def calculate_loss(self, interaction):
            return loss(self.users(interaction[0]).sum(1))

    with pytest.raises(ValueError, match=r"must be one number; got shape \(9,\).*Take its mean"):
        wrap(PerPair()).calculate_loss(batch())


def test_a_loss_may_take_arguments_of_any_name():
    class ByName(strangers.SeparateBuffers):
        def calculate_loss(self, *, items, method, function):
            assert method == "fast"
            return super().calculate_loss((torch.arange(len(items)), items, function))

    model = wrap(ByName(), items=lambda *, items, method, function: torch.cat([items, function]))
    rows = torch.tensor([4, 7])
    total = model.calculate_loss(items=rows, method="fast", function=rows + 1)
    own = model.backbone.calculate_loss(items=rows, method="fast", function=rows + 1)
    both = model.distillation_loss(torch.tensor([4, 7, 5, 8]))
    torch.testing.assert_close(total, own + both)


def test_a_number_may_stand_for_a_loss():
    class Nothing(strangers.SeparateBuffers):
        def calculate_loss(self, interaction):
            return 0.0, super().calculate_loss(interaction)

    model = wrap(Nothing())
    total, _ = model.calculate_loss(batch())
    assert torch.equal(total, model.distillation_loss(batch_items(batch())))


def test_nan_that_a_hook_fills_is_none():
    filled = strangers.SeparateBuffers()
    filled.image_feat[3] = torch.nan
    model = wrap(filled, features() | {"image": filled.image_feat.clone()})
    student = model.student("image")
    student.register_forward_pre_hook(lambda _, args: (args[0].nan_to_num(),))
    assert model.calculate_loss(batch()).isfinite()


def test_names_that_distill_hides_are_said():
    class Encodes(strangers.SeparateBuffers):
        def encode(self, users):
            return self.users(users)

    backbone = Encodes()
    with pytest.raises(UserWarning, match=r"has 'encode', and .* at model\.backbone\.encode\."):
        wrap(backbone)
    assert type(backbone.image_trs) is nn.Linear  # nothing is half done where warnings are errors
    with pytest.warns(UserWarning, match="has 'encode', and"):
        model = wrap(backbone)
    assert model.backbone.encode(torch.arange(2)).shape == (2, DIM)


def test_what_only_our_backbones_have_is_said():
    model = wrap(strangers.SeparateBuffers())
    assert not hasattr(model, "recommend")
    with pytest.raises(AttributeError, match="no attribute 'scorer'. That is a method of"):
        model.scorer()
    with pytest.raises(AttributeError, match="no attribute 'nonsense'$"):
        model.nonsense()


def test_a_function_of_items_that_takes_other_arguments_says_so():
    model = wrap(strangers.SeparateBuffers(), items=lambda a, b: a)
    text = r"items= is called with what calculate_loss\(\) was called with, here 1 positional arg"
    with pytest.raises(TypeError, match=text):
        model.calculate_loss(batch())
    with pytest.raises(TypeError, match="here 0 positional arguments and interaction by name"):
        model.calculate_loss(interaction=batch())
    broken = wrap(strangers.SeparateBuffers(), items=lambda batch: torch.cat(*batch[1:]))
    with pytest.raises(TypeError, match="^cat"):
        broken.calculate_loss(batch())


def test_a_dict_of_a_class_of_its_own_stays_of_it():
    class Output(dict):
        """As Hugging Face's: keys are attributes too."""

        def __getattr__(self, name):
            if name in self:
                return self[name]
            raise AttributeError(name)  # a KeyError here breaks copy() on Python 3.10

    class Says(strangers.SeparateBuffers):
        def calculate_loss(self, interaction):
            self.said = Output(loss=super().calculate_loss(interaction), note="kept")
            return self.said

    model = Says()
    wrapped = wrap(model)
    out = wrapped.calculate_loss(batch())
    assert type(out) is Output
    assert out.note == "kept"
    own, extra = model.said.loss, wrapped.distillation_loss(batch_items(batch()))
    torch.testing.assert_close(out.loss, own + extra)  # and the recommender's own is as it was


def test_hooks_on_a_student_act_on_what_is_exported():
    class Ignored(strangers.SeparateBuffers):
        def item_features(self):
            return 0.5 * self.ids.weight

    wrapped, idle = wrap(strangers.SeparateBuffers()), wrap(Ignored())
    for model in (wrapped, idle):
        model.student("image").register_forward_hook(lambda _, __, out: F.normalize(out) + 2)
    expected = {m: wrapped.student(m)(x) for m, x in features().items()}
    for found in (wrapped.export(), wrapped.encode(features())):
        torch.testing.assert_close(found, expected)
    assert float((found["image"] - 2).norm(dim=1).mean()) == pytest.approx(1)
    idle.export()  # which is no reading by the recommender
    with pytest.warns(UnusedStudentWarning):
        train(idle, idle.parameters())


def test_a_layer_changed_behind_its_back_is_named():
    model = strangers.SeparateBuffers()
    wrapped = wrap(model)
    model.text_trs = nn.Linear(6, 4)
    with pytest.raises(TypeError, match="At 'text_trs' must be the student that distill.. put"):
        wrapped.calculate_loss(batch())


def test_torch_func_goes_through_a_fresh_model():
    def loss(model, parameters):
        return torch.func.functional_call(model, parameters, (batch(),)).sum()

    class Calls(strangers.SeparateBuffers):
        def forward(self, interaction):
            return self.calculate_loss(interaction)

    wrapped = wrap(Calls(), loss_method="forward")
    parameters = dict(wrapped.named_parameters())
    found = torch.func.grad(lambda p: loss(wrapped, p))(parameters)
    wrapped(batch()).backward()
    for name, p in parameters.items():
        expected = torch.zeros_like(p) if p.grad is None else p.grad
        torch.testing.assert_close(found[name], expected)


def test_bfloat16_rows_of_float16_features_are_the_same_features():
    given = {m: x.half() for m, x in features().items()}
    wrapped = wrap(strangers.SeparateBuffers().bfloat16(), given)
    assert wrapped.calculate_loss(batch()).isfinite()  # a warning is an error here
