"""What goes wrong is said by a class of its own, which a section of the documentation explains."""

import copy
import pickle
import re
import warnings
from pathlib import Path

import pytest
import strangers
import torch
import torch.nn.functional as F
from readme_snippets import run
from strangers import ITEMS, USERS, batch, batch_items, features, labels
from torch import nn

import sgfd
from sgfd import DistillationWarning, ProjectionError, distill, find_projections

PAGE = Path(__file__).parents[2] / "docs" / "troubleshooting.md"
PROBLEMS = [
    value
    for value in vars(sgfd).values()
    if isinstance(value, type) and issubclass(value, (ProjectionError, DistillationWarning))
]


@pytest.fixture(autouse=True)
def _same_parameters_every_time():
    torch.manual_seed(5)


def wrap(model, given=None, **options):
    options = {"loss_method": "calculate_loss", "items": batch_items} | options
    return distill(model, given or features(), labels(), **options)


def steps(model, loss, count=60, parameters=None):
    optimizer = torch.optim.SGD(parameters or list(model.parameters()), lr=0.1)
    for _ in range(count):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()


def train(model, count=60, parameters=None):
    steps(model, lambda: model.calculate_loss(batch()), count, parameters)


def test_every_problem_has_a_section_and_every_section_is_a_problem():
    text = PAGE.read_text()
    sections = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert sorted(sections) == sorted(p.__name__ for p in PROBLEMS)
    for section in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        assert "```python\n" in section, section.splitlines()[0]


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_message_ends_with_the_way_to_its_section(problem):
    sentence = problem("It went wrong.")
    expected = f"It went wrong.\nSee docs/troubleshooting.md#{problem.__name__.lower()}"
    assert str(sentence) == expected
    assert str(pickle.loads(pickle.dumps(sentence))) == expected
    if issubclass(problem, Warning):
        with pytest.warns(problem) as caught:
            warnings.warn("It went wrong.", problem, stacklevel=1)
        assert str(caught[0].message) == expected


def test_the_examples_of_the_page_run():
    assert run(PAGE) == len(PROBLEMS) + 1  # and the recommender that they are about


def test_what_is_wrong_with_a_layer_has_its_own_error():
    with pytest.raises(sgfd.NoLayerError, match="No layer reads"):
        wrap(strangers.BareParameter())
    with pytest.raises(sgfd.NoLayerError, match="'joint' has the width of image and text"):
        wrap(strangers.Concatenated())
    for path in ("no.such", "text_trs", "users"):
        with pytest.raises(sgfd.NoLayerError, match=re.escape("projections['image']")):
            wrap(strangers.SeparateBuffers(), projections={"image": path})
    with pytest.raises(sgfd.AmbiguousLayerError, match="2 layers have that width"):
        wrap(strangers.DeadTwin())
    with pytest.raises(sgfd.AmbiguousLayerError, match="the only nn.Linear of a width"):
        find_projections(nn.ModuleDict({"a": nn.Linear(5, 3)}), {"title": 5, "desc": 5})
    with pytest.raises(ProjectionError, match="modalities without features") as error:
        wrap(strangers.SeparateBuffers(), projections={"audio": "image_trs"})
    assert type(error.value) is ProjectionError


class ReadsTheBatch(strangers.SeparateBuffers):
    """Projects no more than the rows it needs, which ``rows`` names."""

    def rows(self, items):
        return self.image_feat[items]

    def calculate_loss(self, interaction):
        users, positives, negatives = interaction
        items = torch.cat([positives, negatives])
        read = self.ids(items) + self.image_trs(self.rows(items))[: len(items)]
        positive, negative = (read + self.text_trs(self.text_feat)[items]).chunk(2)
        return -F.logsigmoid((self.users(users) * (positive - negative)).sum(1)).mean()


class Normalizes(ReadsTheBatch):
    def rows(self, items):
        return F.normalize(self.image_feat[items])


class AddsUsers(ReadsTheBatch):
    def rows(self, items):
        return torch.cat([self.image_feat[items], torch.randn(5, self.image_feat.shape[1])])


class AddsItemsOfItsOwn(ReadsTheBatch):
    def rows(self, items):
        return torch.cat([self.image_feat[items], self.image_feat])


class Shuffles(strangers.SeparateBuffers):
    def item_features(self):
        order = torch.arange(ITEMS).flip(0)
        return self.image_trs(self.image_feat[order])[order] + self.text_trs(self.text_feat)


def test_rows_that_are_no_items_are_foreign():
    with pytest.warns(sgfd.ForeignRowsWarning, match=f"given {USERS + ITEMS} rows, more than"):
        wrap(strangers.SeesUsers()).calculate_loss(batch())
    text = r"'image_trs'.*no row of features\['image'\]: \d of 16 looked at"
    with pytest.warns(sgfd.ForeignRowsWarning, match=text):
        wrap(AddsUsers()).calculate_loss(batch())


def test_features_that_are_not_those_given_are_other_features():
    given = features()
    given["text"] = given["text"] + 0.5
    with pytest.warns(sgfd.OtherFeaturesWarning, match=r"'text'\] \(largest difference 0\.5\)"):
        wrap(strangers.SeparateBuffers(), given).calculate_loss(batch())
    x = features()["image"]
    items = torch.cat([batch()[1], batch()[2]])
    picked = items[torch.linspace(0, len(items) - 1, 16).long()]
    far = torch.cdist(F.normalize(x[picked]), x, p=torch.inf).amin(1).max()
    with pytest.warns(sgfd.OtherFeaturesWarning) as caught:
        wrap(Normalizes()).calculate_loss(batch())
    assert f"(largest difference {far:.3g} from the nearest one)" in str(caught[0].message)


class Few(strangers.SeparateBuffers):
    """Reads three items of thirteen at a time, by a loss of another name too."""

    def item_features(self, items=slice(None)):
        return self.image_trs(self.image_feat[items]) + self.text_trs(self.text_feat[items])

    def calculate_loss(self, items):
        return self.item_features(items).square().mean()

    def training_step(self, items):
        return self.calculate_loss(items)


def few(given=None, items=lambda items: items, **options):
    return wrap(Few(), given, items=items, **options)


def told_of(modality, said):
    return any(f"features['{modality}']" in str(w.message) for w in said)


def test_items_that_the_loss_is_not_told_of_are_noticed():
    items = torch.tensor([3, 5, 5, 9])
    permuted = {m: x.roll(1, 0) for m, x in features().items()}
    for model in (few(items=lambda items: items + 1), few(permuted)):
        with pytest.warns(sgfd.OtherItemsWarning, match="none of 3 looked at.*numbered") as said:
            model.calculate_loss(items)
        assert all(told_of(m, said) for m in features())
    with pytest.warns(sgfd.OtherFeaturesWarning, match="the rows of .* in another order") as said:
        wrap(strangers.SeparateBuffers(), permuted).calculate_loss(
            (torch.tensor([2]), torch.tensor([3]), torch.tensor([4]))
        )
    assert all(told_of(m, said) for m in features())
    train_on(few())


class Histories(Few):
    """Reads neighbors first, one by one, and the items that the loss is told of last."""

    def calculate_loss(self, items):
        first = sum(self.item_features((items + i) % ITEMS).square().mean() for i in range(1, 4))
        return first + super().calculate_loss(items)


def test_items_that_are_read_besides_are_no_problem():
    train_on(wrap(Histories(), items=lambda items: items))
    model = few()
    model.backbone.item_features(torch.tensor([11, 12]))  # a trial, before training
    train_on(model)


@pytest.mark.parametrize("turn", [1, -1])
def test_a_loop_of_its_own_may_take_its_losses_as_it_likes(turn):
    model = distill(Few(), features(), labels())
    parts = [model.calculate_loss, model.distillation_loss][::turn]
    train_on(model, lambda items: sum(part(items) for part in parts))
    other = distill(Few(), features(), labels())
    train_on(other, lambda items: other.calculate_loss(items) + other.distillation_loss(items + 2))


def train_on(model, loss=None, count=60):
    """On other items at each step: 0 and 3, 1 and 4, and so on."""
    rows = iter(range(count))
    steps(
        model,
        lambda: (loss or model.calculate_loss)(torch.tensor([0, 3]) + next(rows) % 8),
        count,
    )


def test_training_without_a_distillation_loss_is_noticed():
    model = few()
    with pytest.warns(sgfd.NoDistillationWarning, match="trained for 50 steps and no ") as said:
        # Of the recommender: the loss that it calls is the plain one.
        train_on(model, lambda items: model.training_step(items), count=120)
    assert len(said) == 1  # though there are two students
    assert said[0].filename == __file__
    untold = distill(Few(), features(), labels())
    with pytest.warns(sgfd.NoDistillationWarning, match="add distillation_loss"):
        train_on(untold)
    # Three losses of check_scores(), or one of validation, are no training.
    checked = few()
    sgfd.check_scores(
        checked,
        loss=lambda: checked.calculate_loss(torch.tensor([1, 2])),
        scores=lambda: checked.item_features(),
    )
    with pytest.warns(sgfd.NoDistillationWarning):
        train_on(checked, lambda items: checked.training_step(items))


class PerItem(Few):
    def calculate_loss(self, items):
        return sum(super(PerItem, self).calculate_loss(i[None]) for i in items.repeat(40))


def test_training_with_one_however_it_is_taken_is_no_problem():
    stepping = few(loss_method="training_step")
    train_on(stepping, lambda items: stepping.training_step(items))
    train_on(wrap(PerItem(), items=lambda items: items), count=55)  # many calls a step
    accumulating = distill(Few(), features(), labels())

    def many(items):
        losses = [accumulating.calculate_loss(items) for _ in range(8)]
        return sum(losses) + accumulating.distillation_loss(items)

    train_on(accumulating, many)
    parts = distill(Few(), features(), labels())

    def from_parts(items):
        x = {m: feature[items] for m, feature in features().items()}
        learned = parts.teacher.judge({m: parts.student(m).embed(x[m]) for m in x})
        terms = parts.sgfd_loss.terms(parts.teacher(x), learned, labels()[items])
        return parts.calculate_loss(items) + terms.total

    train_on(parts, from_parts)
    copied = copy.deepcopy(few().backbone)  # with hooks, but by itself
    train_on(copied, copied.calculate_loss)
    control = few(loss=sgfd.SGFDLoss(ce_weight=0, kd_weight=0))
    train_on(control)


def test_the_recommender_in_it_does_not_hold_the_teacher():
    model = few()
    with_teacher = len(pickle.dumps(model.teacher))
    assert len(pickle.dumps(model.backbone)) < 2 * with_teacher
    assert b"SemanticTeacher" not in pickle.dumps(model.backbone)


class OneLayer(strangers.Stranger):
    """One layer for two views of one width, as a shared text encoder's."""

    def __init__(self, whole):
        super().__init__()
        self.whole = whole
        self.layer = nn.Linear(6, strangers.DIM)
        generator = torch.Generator().manual_seed(3)
        for name in ("title", "body"):
            self.register_buffer(name, torch.randn(ITEMS, 6, generator=generator))

    def calculate_loss(self, items):
        if self.whole:
            return (self.layer(self.title) + self.layer(self.body))[items].square().mean()
        return (self.layer(self.title[items]) + self.layer(self.body[items])).square().mean()


@pytest.mark.parametrize("whole", [True, False])
def test_a_layer_of_two_modalities_may_be_given_either(whole):
    model = OneLayer(whole)
    one = dict.fromkeys(("title", "body"), "layer")
    given = {m: getattr(model, m) for m in one}
    options = {"projections": one, "loss_method": "calculate_loss", "items": lambda items: items}
    train_on(distill(model, given, labels(), **options))
    others = {m: x + 0.5 for m, x in given.items()}
    with pytest.warns(sgfd.OtherFeaturesWarning, match="largest difference"):
        distill(OneLayer(whole), others, labels(), **options).calculate_loss(torch.tensor([1, 2]))


def test_nan_in_the_recommenders_own_table_is_an_error():
    given = features()
    given["image"][:4] = torch.nan
    model = strangers.SeparateBuffers()
    model.image_feat.copy_(given["image"])
    with pytest.raises(ValueError, match=f"'image_trs'.*was given NaN in 4 of {ITEMS} rows.*Fill"):
        wrap(model, given).calculate_loss(batch())


@pytest.mark.parametrize("kind", [ReadsTheBatch, AddsItemsOfItsOwn, Shuffles])
def test_rows_of_items_in_any_order_and_number_are_no_problem(kind):
    train(wrap(kind()))


def test_rows_that_stand_for_what_is_missing_are_the_recommenders_affair():
    given = features()
    given["image"][:4] = torch.nan

    class Zeros(ReadsTheBatch):
        def rows(self, items):
            return torch.where(items[:, None] < 4, 0, self.image_feat[items])

    train(wrap(Zeros(), given))


def test_a_student_that_is_never_called_is_unused_even_if_it_is_the_only_one():
    class ByWeight(strangers.SeparateBuffers):
        def item_features(self):
            return self.image_feat @ self.image_trs.weight.T

    given = {"image": features()["image"]}
    with pytest.warns(sgfd.UnusedStudentWarning, match="'image_trs'.*was never called while 50"):
        train(wrap(ByWeight(), given))
    own = distill(ByWeight(), given, labels())

    def loss():
        return own.calculate_loss(batch()) + own.distillation_loss(batch_items(batch()))

    steps(own, loss, count=49)
    with pytest.warns(sgfd.UnusedStudentWarning):
        steps(own, loss, count=2)
    steps(own, loss)  # once is enough


def test_a_layer_that_is_called_in_any_way_is_no_unused_student():
    class WithoutGradient(strangers.SeparateBuffers):
        def item_features(self):
            with torch.no_grad():
                return super().item_features()

    with pytest.warns(sgfd.NoGradientWarning):  # which is what is wrong with it
        train(wrap(WithoutGradient()))
    model = wrap(strangers.SeparateBuffers())
    model.student("image").eval()
    train(model)
    assert model._watch.losses == 50
    model = wrap(strangers.SeparateBuffers())
    model.unwrap()
    train(model)


def test_a_layer_that_is_only_called_to_score_is_an_unused_student():
    class OnlyScores(strangers.SeparateBuffers):
        def item_features(self):
            read = self.text_trs(self.text_feat)
            return read if self.training else read + self.image_trs(self.image_feat)

    model = wrap(OnlyScores())

    def loss():
        model.eval().full_sort_predict(torch.arange(USERS))
        return model.train().calculate_loss(batch())

    with pytest.warns(sgfd.UnusedStudentWarning, match="'image_trs'"):
        steps(model, loss)


@pytest.mark.parametrize("live", [True, False])
def test_features_that_are_trained_are_told_once_and_with_the_first_loss(live):
    given = features() | ({"image": "image_embedding.weight"} if live else {})
    model = wrap(strangers.TrainableEmbedding(), given)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(model, count=1)
        first = len(caught)
        train(model)
    assert [w.category for w in caught] == ([] if live else [sgfd.OtherFeaturesWarning])
    assert first == len(caught)


def test_a_warm_up_of_teacher_and_students_is_no_unused_student():
    warm = wrap(strangers.SeparateBuffers())
    steps(warm, lambda: warm.distillation_loss(torch.arange(ITEMS)), count=120)
    assert warm._watch.losses == 0


def test_the_remaining_warnings_have_their_classes():
    class Ignored(strangers.SeparateBuffers):
        def item_features(self):
            return super().item_features().detach()

    with pytest.warns(sgfd.NoGradientWarning, match="got no gradient from the recommendation"):
        train(wrap(Ignored()))
    idle = wrap(strangers.SeparateBuffers())
    with pytest.warns(sgfd.IdleTeacherWarning, match="the teacher did not"):
        train(idle, parameters=list(idle.backbone.parameters()))


def test_an_idle_teacher_shows_by_any_student_that_moves():
    idle = wrap(strangers.SeparateBuffers())
    idle.student("image").requires_grad_(False)
    with pytest.warns(sgfd.IdleTeacherWarning):
        train(idle, parameters=[p for p in idle.backbone.parameters() if p.requires_grad])


def test_a_layer_may_read_no_rows_or_sparse_ones():
    class Odd(strangers.SeparateBuffers):
        def item_features(self):
            self.image_trs(self.image_feat[:0])
            self.text_trs(self.text_feat.to_sparse())
            return super().item_features()

    assert wrap(Odd()).calculate_loss(batch()).isfinite()
