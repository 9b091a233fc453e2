"""distill() with several labels per item, and with several levels of them."""

import numpy as np
import pytest
import strangers
import torch
from strangers import ITEMS, features, labels

from sgfd import (
    SemanticTeacher,
    SGFDLoss,
    bernoulli_kl,
    binary_cross_entropy,
    distill,
    hierarchy,
    kl_divergence,
)
from sgfd.backbones import BM3, VBPR
from sgfd.data import Dataset, PairSampler


def wrap(y, **options):
    torch.manual_seed(0)
    return distill(strangers.SeparateBuffers(), features(), y, **options)


def genres():
    y = (torch.rand(ITEMS, 5, generator=torch.Generator().manual_seed(2)) < 0.4).long()
    y[5] = -1
    return y


def leaves():
    y = torch.arange(ITEMS) % 4
    y[2] = -1
    return y


EVERY = torch.arange(ITEMS)


def own_terms(wrapped, loss, y):
    x = features()
    learned = wrapped.teacher.judge({m: wrapped.student(m).embed(v) for m, v in x.items()})
    return loss.terms(wrapped.teacher(x), learned, y)


def test_multi_hot_labels_get_sigmoids():
    wrapped = wrap(genres())
    assert wrapped.teacher.num_classes == 5
    loss = SGFDLoss(
        classification=binary_cross_entropy, fusion=binary_cross_entropy, response=bernoulli_kl
    )
    expected = own_terms(wrapped, loss, genres())
    torch.testing.assert_close(wrapped.distillation_terms(EVERY), expected)


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y.numpy(),
        lambda y: y.float(),
        lambda y: y.numpy().astype(np.float16),
        lambda y: y.to(torch.int8),
        lambda y: y.numpy().astype(">i2"),
        lambda y: pytest.importorskip("pandas").DataFrame(y.numpy()),
    ],
    ids=["array", "float", "float16", "int8", "big-endian", "data frame"],
)
def test_multi_hot_labels_come_in_any_dtype(change):
    assert torch.equal(wrap(change(genres()))._labels, genres().to(torch.int8))


def test_multi_hot_labels_of_yes_and_no():
    y = genres().clamp(min=0)
    for given in (y.bool(), y.to(torch.uint8), y.numpy().astype(bool), y.numpy().astype(np.uint8)):
        assert torch.equal(wrap(given)._labels.long(), y)


@pytest.mark.parametrize(
    "change",
    [
        lambda y: y,
        lambda y: y.float(),
        lambda y: y.half().numpy(),
        lambda y: y.double().numpy().astype(">f8"),
        lambda y: y.float().tolist(),
        lambda y: pytest.importorskip("pandas").Series(y.double().numpy()),
    ],
    ids=["tensor", "float", "float16 array", "big-endian", "list", "series"],
)
@pytest.mark.parametrize("unknown", [-1.0, float("nan")])
def test_one_label_per_item_comes_in_any_dtype_with_nan_for_unknown(change, unknown):
    y = labels().double()
    y[y < 0] = unknown
    assert torch.equal(wrap(change(y if unknown != -1 else labels()))._labels, labels())


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray, list])
def test_labels_between_two_classes_are_refused_in_every_kind(kind):
    y = [0.0, 1.0, float("nan"), 1.5] + [0.0] * (ITEMS - 4)
    with pytest.raises(ValueError, match=r"must be whole, the indices of classes; got 1\.5"):
        wrap(kind(y))


def test_raw_ids_for_classes_are_refused_unless_declared():
    with pytest.raises(ValueError, match=f"at most one class per item \\({ITEMS}\\).*got {ITEMS}"):
        wrap(labels() + ITEMS - 2)
    assert wrap(labels().clamp(min=0) + ITEMS, num_classes=99).teacher.num_classes == 99


def test_a_hierarchy_gets_a_softmax_per_level():
    y = {"main": labels(), "leaf": leaves()}
    wrapped = wrap(y)
    assert wrapped.teacher.num_classes == 3 + 4
    levels = hierarchy((3, 4), weights=(0.5, 0.5))
    loss = SGFDLoss(
        classification=levels.classification,
        fusion=levels.classification,
        response=levels.response,
    )
    expected = own_terms(wrapped, loss, torch.stack([labels(), leaves()], dim=1))
    torch.testing.assert_close(wrapped.distillation_terms(EVERY), expected)


def test_levels_may_be_strings_and_of_declared_sizes():
    names = [None if y < 0 else "abcd"[y] for y in leaves().tolist()]
    wrapped = wrap({"main": labels().numpy(), "leaf": names}, num_classes={"main": 9, "leaf": 6})
    assert wrapped.teacher.num_classes == 15
    assert torch.equal(wrapped._labels[:, 1], leaves())


def test_a_loss_of_ones_own_for_a_hierarchy_is_taken():
    levels = hierarchy((3, 4), weights=(0.9, 0.2))
    loss = SGFDLoss(
        ce_weight=0.5,
        classification=levels.classification,
        fusion=levels.classification,
        response=levels.response,
    )
    wrapped = wrap({"main": labels(), "leaf": leaves()}, loss=loss)
    assert wrapped.sgfd_loss is loss
    assert wrapped.distillation_loss(EVERY).isfinite()


def test_labels_all_unknown_need_a_declaration():
    unknown = torch.full((ITEMS, 5), -1)
    with pytest.raises(ValueError, match="No label is known; pass num_classes="):
        wrap(unknown)
    terms = wrap(unknown, num_classes=5).distillation_terms(EVERY)
    assert terms.classification == terms.fusion == 0
    assert terms.response > 0
    y = {"main": labels(), "leaf": unknown[:, 0]}
    with pytest.raises(ValueError, match="No label of level 'leaf' is known; pass num_classes="):
        wrap(y)
    assert wrap(y, num_classes={"main": 3, "leaf": 7}).teacher.num_classes == 10


def unwilling(z, y):
    raise AssertionError


MULTI_HOT = "binary_cross_entropy as classification= and fusion=, bernoulli_kl as response="
LEVELS = {"main": labels(), "leaf": leaves()}


@pytest.mark.parametrize(
    ("y", "loss", "text"),
    [
        (genres(), SGFDLoss(), r"classification=.*which are multi-hot: cross_entropy takes one"),
        (genres(), SGFDLoss(), MULTI_HOT),
        (
            genres(),
            SGFDLoss(classification=binary_cross_entropy),
            "The fusion= of the loss does not fit",
        ),
        (
            genres(),
            SGFDLoss(classification=binary_cross_entropy, fusion=binary_cross_entropy),
            "The response= of the loss does not fit.*it is meant for labels of another kind",
        ),
        (
            genres(),
            SGFDLoss(classification=lambda z, y: z.sum(1)),
            r"it gives \(1,\) where \(1, 5\) is due",
        ),
        (
            genres(),
            SGFDLoss(classification=unwilling),
            r"which are multi-hot: AssertionError\(\)\. Pass SGFDLoss",
        ),
        (
            labels(),
            SGFDLoss(classification=binary_cross_entropy),
            "which are one per item: binary_cross_entropy takes.*Pass SGFDLoss with cross_entropy",
        ),
        (labels(), SGFDLoss(response=bernoulli_kl), "labels of another kind.*kl_divergence as"),
        (LEVELS, SGFDLoss(), r"a hierarchy \(main, leaf\).*hierarchy\(\(3, 4\)\).classification"),
        (
            LEVELS,
            SGFDLoss(
                classification=hierarchy((3, 5)).classification,
                fusion=hierarchy((3, 5)).classification,
            ),
            r"3 \+ 5 classes takes logits of width 8; got \(1, 7\).*num_classes={level: ...}",
        ),
        (
            LEVELS,
            SGFDLoss(
                classification=hierarchy((3, 4)).classification,
                fusion=hierarchy((3, 4)).classification,
                response=kl_divergence,
            ),
            "it would take all levels for one",
        ),
        (
            {"leaf": leaves(), "main": labels()},
            SGFDLoss(classification=hierarchy((3, 4)).classification),
            "labels of level 0 must be below 3; got 3",
        ),
    ],
)
def test_a_loss_for_other_labels_is_refused_with_what_to_pass(y, loss, text):
    model = strangers.SeparateBuffers()
    with pytest.raises(ValueError, match=text):
        distill(model, features(), y, loss=loss)
    assert type(model.image_trs) is torch.nn.Linear


@pytest.mark.parametrize(
    ("y", "options", "text"),
    [
        (genres() * 3, {}, r"of torch.int64, such as 3\."),
        (genres().float() * 0.5, {}, r"of torch.float32, such as .*0\.5\."),
        (genres()[:, :1], {}, r"multi-hot array \(num_items, C\).*got shape \(13, 1\)"),
        (genres().numpy().astype(str), {}, r"got shape \(13, 5\) of <U"),
        (genres().tolist(), {}, r"{level: \(num_items,\) labels}; got a sequence of list\."),
        (list(genres()), {}, "got a sequence of Tensor"),
        (torch.zeros(ITEMS, 5), {}, "without a single 1"),
        (genres(), {"num_classes": 6}, "num_classes of multi-hot labels must be their width 5; g"),
        (genres(), {"num_classes": {"a": 5}}, r"num_classes must be a number; got {'a': 5}"),
        ({7: 2, 8: 1}, {}, r"for a hierarchy, {level: .*got 2 of level 7\."),
        ({7: "pen", 8: "ink"}, {}, r"got 'pen' of level 7\."),
        ({"main": labels()}, {}, r"two levels or more.*got levels of lengths {'main': 13}"),
        ({"main": labels(), "leaf": leaves()[:5]}, {}, r"{'main': 13, 'leaf': 5}"),
        (LEVELS, {"num_classes": 7}, r"per level, {'main': ..., 'leaf': ...}.*order; got 7"),
        (LEVELS, {"num_classes": {"leaf": 4, "main": 3}}, "in this order; got {'leaf': 4"),
        (LEVELS, {"num_classes": {"main": 3, "leaf": 2}}, "num_classes=2; got 3 of level 'leaf'"),
        ({**LEVELS, "leaf": leaves() - 2}, {}, r"at least -1 \(unknown\); got -3 of level 'leaf'"),
        ({**LEVELS, "leaf": genres()}, {}, r"got shape \(13, 5\) of torch.int64 of level 'leaf'"),
        (
            LEVELS,
            {"teacher": SemanticTeacher({"image": 10, "text": 6}, 4, 9)},
            r"num_classes must be the teacher's \(9\); got 3 \+ 4",
        ),
    ],
)
def test_labels_that_are_of_no_kind_are_named(y, options, text):
    with pytest.raises(ValueError, match=text):
        wrap(y, **options)


@pytest.mark.parametrize("kind", [BM3, VBPR])
def test_ours_train_with_both(kind):
    rng = np.random.default_rng(0)
    y = rng.random((60, 5)) < 0.3
    x = (y @ rng.normal(size=(5, 12)) + 0.3 * rng.normal(size=(60, 12))).astype(np.float32)
    train = np.stack([rng.integers(0, 30, 400), rng.integers(0, 60, 400)], axis=1)
    data = Dataset.from_arrays(train, [], features={"image": x, "text": x[:, ::-1]}, labels=y)
    levels = {"main": y[:, 0].astype(int), "leaf": y.argmax(1)}
    for given in (data.labels, levels):
        model = distill(kind(data.train, data.features, dim=8), data.features, given)
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
        before = model.distillation_terms(torch.arange(60))
        for epoch in range(20):
            for batch in PairSampler(data.train, batch_size=64, num_negatives=1).epoch(epoch):
                optimizer.zero_grad()
                model(batch).backward()
                optimizer.step()
        after = model.distillation_terms(torch.arange(60))
        assert after.classification < 0.6 * before.classification
        assert after.fusion < before.fusion / 2
