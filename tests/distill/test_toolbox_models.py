"""distill() on every way of holding and reading features that a published toolbox has."""

import warnings

import pytest
import toolbox_models as models
import torch
from strangers import ITEMS, USERS, WIDTHS, batch, batch_items, features, labels

from sgfd import (
    AmbiguousLayerError,
    DistillationWarning,
    NoGradientWarning,
    NoLayerError,
    OtherFeaturesWarning,
    UnusedStudentWarning,
    distill,
)

OWN = {"image": "image_trs", "text": "text_trs"}
LIVE = {"image": "tables.image", "text": "tables.text"}
TOWERS = {"image": "v_tower.first", "text": "t_tower.first"}
IN_PLACE = [
    (models.KeptConcatenation, {"both": "raw"}, None, {"both": "joint"}),
    (models.Towers, None, None, TOWERS),
    (models.Towers, {"image": "v_tower.features", "text": "t_tower.features"}, None, TOWERS),
    (models.DeadTwins, None, TOWERS, TOWERS),
    (models.FrozenEmbeddings, None, None, OWN),
    (models.TrainableEmbeddings, LIVE, None, OWN),
    (
        models.NormalizedAtOnce,
        {"image": "v_feat", "text": "t_feat"},
        None,
        {"image": "v_dense", "text": "t_dense"},
    ),
    (models.Listed, None, None, {"image": "layers.0.1", "text": "layers.1.1"}),
    (models.UsersBesideItems, {"image": "image_feat"}, None, {"image": "image_trs"}),
    (models.OncePerEpoch, None, None, OWN),
    (lambda: models.AuxiliaryTerm(0.5), None, None, OWN),
    (models.OneElementLoss, None, None, OWN),
    (models.RegistersWhileTraining, None, None, OWN),
]


def wrap(model, given=None, projections=None):
    return distill(
        model,
        given or features(),
        labels(),
        projections=projections,
        loss_method="calculate_loss",
        items=batch_items,
    )


def train(model, losses=60):
    """The loop of the toolbox: an optimizer of all parameters, a hook before each epoch."""
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for step in range(losses):
        if step % 30 == 0 and hasattr(model, "pre_epoch_processing"):
            model.pre_epoch_processing()
        optimizer.zero_grad()
        loss = model.calculate_loss(torch.stack(batch()))
        loss.sum().backward()
        optimizer.step()
    return loss


@pytest.mark.parametrize(("make", "given", "projections", "paths"), IN_PLACE)
def test_it_is_served_in_place_without_a_warning(make, given, projections, paths):
    torch.manual_seed(1)
    model = make()
    torch.manual_seed(1)
    twin = make()
    scores, own = twin.full_sort_predict(torch.arange(USERS)), twin.calculate_loss(batch())
    wrapped = wrap(model, given, projections)
    assert wrapped.student_paths == paths
    assert torch.equal(wrapped.full_sort_predict(torch.arange(USERS)), scores)
    extra = wrapped.distillation_loss(batch_items(batch()))
    loss = wrapped.calculate_loss(batch())
    assert loss.shape == own.shape
    assert torch.equal(loss, own + extra)
    train(wrapped)  # a warning would be an error here
    train(twin)
    assert list(model.state_dict()) == list(twin.state_dict())
    for m, table in wrapped.export().items():
        assert table.shape == (ITEMS, wrapped.student(m).out_features)


@pytest.mark.parametrize(("make", "given", "projections", "paths"), IN_PLACE)
def test_the_recommendation_loss_reaches_the_students(make, given, projections, paths):
    torch.manual_seed(2)
    model = make()
    wrapped = wrap(model, given, projections)
    model.calculate_loss(batch()).sum().backward()
    for m in paths:
        assert wrapped.student(m).weight.grad.abs().max() > 0


def test_a_batch_of_one_tensor_is_read_before_it_is_renumbered_in_place():
    torch.manual_seed(1)
    model = models.RenumbersOneTensor()
    own = model.calculate_loss(torch.stack(batch()))
    wrapped = distill(
        model,
        features(),
        labels(),
        loss_method="calculate_loss",
        items=lambda interaction: interaction[1:],  # a view of what will change
    )
    extra = wrapped.distillation_loss(torch.stack(batch()[1:]))
    assert torch.equal(wrapped.calculate_loss(torch.stack(batch())), own + extra)


def test_raw_features_that_are_normalized_or_trained_are_other_features():
    for make in (models.NormalizedAtOnce, models.TrainableEmbeddings):
        with pytest.warns(OtherFeaturesWarning, match="their dotted path if it trains") as caught:
            train(wrap(make()))
        for m in WIDTHS:
            assert any(f"(modality {m!r})" in str(w.message) for w in caught)


def test_a_layer_over_users_and_items_is_reported_and_the_other_is_not():
    with pytest.warns(DistillationWarning) as caught:
        train(wrap(models.UsersBesideItems()))
    assert {"text_trs" in str(w.message) for w in caught} == {True}


def test_a_term_of_weight_zero_sends_no_gradient():
    with pytest.warns(NoGradientWarning) as caught:
        train(wrap(models.AuxiliaryTerm(0.0)))
    assert len(caught) == len(WIDTHS)


def test_layers_of_which_none_is_called_are_unused():
    with pytest.warns(UnusedStudentWarning) as caught:
        train(wrap(models.NothingCalled()), losses=120)
    assert {path for path in OWN.values() for w in caught if path in str(w.message)} == {
        "image_trs",
        "text_trs",
    }


def test_dead_twins_are_not_chosen_for_their_names():
    with pytest.raises(AmbiguousLayerError) as error:
        wrap(models.DeadTwins())
    for path in (*TOWERS.values(), *OWN.values()):
        assert f"{path}: nn.Linear" in str(error.value)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        train(wrap(models.DeadTwins(), projections=OWN))  # named, but never called
    assert {w.category for w in caught} == {UnusedStudentWarning}


def test_what_has_no_layer_is_refused():
    with pytest.raises(NoLayerError, match=r"no nn\.Linear at all"):
        wrap(models.NoTraining())
    with pytest.raises(ValueError, match=r"'feats\.0' is none"):  # an entry of a list has no path
        wrap(models.Listed(), {"image": "feats.0", "text": features()["text"]})
