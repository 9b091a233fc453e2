"""check_scores() finds scores that are older than the parameters, and changes nothing."""

import numpy as np
import pytest
import strangers
import torch
from scipy.sparse import csr_array
from strangers import ITEMS, USERS, batch, batch_items, features, labels
from torch import nn

from sgfd import CachedScoresWarning, backbones, check_scores, distill

EVERYONE = torch.arange(USERS)


@pytest.fixture(autouse=True)
def _same_parameters_every_time():
    torch.manual_seed(5)


class KeepsTheLastStep(strangers.SeparateBuffers):
    """Scores by what its last training step computed, as some published models do."""

    def item_features(self):
        if self.training:
            self.kept = super().item_features()
            return self.kept
        return self.kept.detach()


class KeepsTheFirstPrediction(strangers.SeparateBuffers):
    """Scores by its first prediction until it is trained on."""

    kept = None

    def calculate_loss(self, interaction):
        self.kept = None
        return super().calculate_loss(interaction)

    def full_sort_predict(self, users):
        if self.kept is None:
            self.kept = super().full_sort_predict(EVERYONE).detach()
        return self.kept[users]


class KeepsForever(KeepsTheFirstPrediction):
    def calculate_loss(self, interaction):
        return strangers.SeparateBuffers.calculate_loss(self, interaction)


class IgnoresFeatures(strangers.SeparateBuffers):
    """Scores by ids alone, as BM3 does."""

    def full_sort_predict(self, users):
        return self.users(users) @ self.ids.weight.T


class Normalized(strangers.SeparateBuffers):
    """Has running statistics, which training changes and a checkpoint holds; and dropout."""

    def __init__(self):
        super().__init__()
        self.norm = nn.Sequential(nn.BatchNorm1d(strangers.DIM), nn.Dropout())

    def item_features(self):
        return self.norm(super().item_features())


class HidesSeenItems(strangers.SeparateBuffers):
    def full_sort_predict(self, users):
        return super().full_sort_predict(users).index_fill(1, torch.tensor([2]), -torch.inf)


def check(model, users=EVERYONE):
    check_scores(
        model, lambda: model.calculate_loss(batch()), lambda: model.full_sort_predict(users)
    )


def wrap(model):
    return distill(model, features(), labels(), loss_method="calculate_loss", items=batch_items)


@pytest.mark.parametrize("wrapped", [True, False])
@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (KeepsTheLastStep, "scores were others once the training loss had been run"),
        (KeepsTheFirstPrediction, "scores were others once the training loss had been run"),
        (KeepsForever, "scores were what they had been"),
    ],
)
def test_scores_that_are_kept_are_found(kind, text, wrapped):
    with pytest.warns(CachedScoresWarning, match=f"all of them were changed, {text}"):
        check(wrap(kind()) if wrapped else kind())


@pytest.mark.parametrize(
    "kind", [strangers.SeparateBuffers, IgnoresFeatures, Normalized, HidesSeenItems]
)
def test_scores_of_the_parameters_are_not_reported(kind):
    check(wrap(kind()))


@pytest.mark.parametrize("name", ["BM3", "GRCN", "MAML", "VBPR"])
def test_our_backbones_score_by_their_parameters(name):
    interactions = csr_array(np.arange(USERS * ITEMS).reshape(USERS, ITEMS) % 3 == 0, dtype=float)
    backbone = getattr(backbones, name)(interactions, features(), dim=4)
    model = distill(backbone, features(), labels())
    users, items, negatives = batch()
    check_scores(
        model, lambda: model((users, items, negatives[:, None])), lambda: model.scores(EVERYONE)
    )


def test_a_model_is_left_as_it_was():
    model = wrap(Normalized())
    model.norm.eval()  # a part of it in a mode of its own
    model.calculate_loss(batch()).backward()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    gradients = {k: p.grad.clone() for k, p in model.named_parameters()}
    modes = [m.training for m in model.modules()]
    generator, losses = torch.get_rng_state(), model._watch.taken
    check(model)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(torch.equal(p.grad, gradients[k]) for k, p in model.named_parameters())
    assert [m.training for m in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)
    assert model._watch.taken == losses


def test_what_the_model_keeps_is_of_its_own_parameters_afterwards():
    model = KeepsTheLastStep()
    with pytest.warns(CachedScoresWarning):
        check(model)
    expected = model.image_trs(model.image_feat) + model.text_trs(model.text_feat)
    assert torch.equal(model.kept, expected)


def test_a_loss_that_fails_leaves_the_parameters_too():
    model, calls = strangers.SeparateBuffers(), []
    before = {k: v.clone() for k, v in model.state_dict().items()}

    def fails():
        calls.append(1)
        if len(calls) == 2:
            raise KeyError("broken")

    text = "failed when it was run again: KeyError: 'broken'"
    with pytest.raises(RuntimeError, match=text):
        check_scores(model, fails, lambda: model.full_sort_predict(EVERYONE))
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert all(m.training for m in model.modules())


@pytest.mark.parametrize("wrapped", [True, False])
def test_a_loss_that_changes_its_batch_is_named_and_takes_a_copy(wrapped):
    class Renumbers(strangers.SeparateBuffers):
        def item_features(self):
            return torch.cat([self.users.weight, super().item_features()])

        def calculate_loss(self, interaction):
            interaction[1:] += USERS  # items behind the users
            users, positives, negatives = interaction
            read = self.item_features()
            return (self.users(users) * (read[positives] - read[negatives])).sum(1).mean()

        def full_sort_predict(self, users):
            return self.users(users) @ self.item_features()[USERS:].T

    model, given = Renumbers(), torch.stack(batch())
    if wrapped:
        model = distill(
            model,
            features(),
            labels(),
            loss_method="calculate_loss",
            items=lambda interaction: interaction[1:],
        )

    def scores():
        return model.full_sort_predict(EVERYONE)

    check_scores(model, lambda: model.calculate_loss(given.clone()), scores)
    with pytest.raises(RuntimeError, match=r"in place.*calculate_loss\(batch\.clone\(\)\)"):
        check_scores(model, lambda: model.calculate_loss(given), scores)


def test_a_loss_that_fails_at_once_fails_as_it_does():
    model = strangers.SeparateBuffers()
    with pytest.raises(ZeroDivisionError):
        check_scores(model, lambda: 1 / 0, lambda: model.full_sort_predict(EVERYONE))


def test_what_cannot_be_told_is_refused():
    class Random(strangers.SeparateBuffers):
        def full_sort_predict(self, users):
            return super().full_sort_predict(users) + torch.rand(1)

    with pytest.raises(ValueError, match="scores must give the same twice"):
        check(Random())
    with pytest.raises(ValueError, match="model must have parameters that train"):
        check(strangers.SeparateBuffers().requires_grad_(False))


def test_an_autocast_around_it_all_is_no_cache():
    model = distill(strangers.SeparateBuffers(), features(), labels())
    with torch.autocast("cpu", torch.bfloat16):
        check_scores(  # by what the layers make, of whose weights autocast keeps a copy
            model,
            loss=lambda: model.calculate_loss(batch()),
            scores=lambda: model.item_features().float(),
        )


def test_extra_state_that_is_no_tensor_comes_back():
    class Counts(strangers.SeparateBuffers):
        steps = 3

        def get_extra_state(self):
            return {"steps": self.steps}

        def set_extra_state(self, state):
            self.steps = state["steps"]

        def calculate_loss(self, interaction):
            self.steps += 1
            return super().calculate_loss(interaction)

    model = Counts()
    check_scores(
        model,
        loss=lambda: model.calculate_loss(batch()),
        scores=lambda: model.full_sort_predict(EVERYONE),
    )
    assert model.steps == 3
