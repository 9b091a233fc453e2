"""Labels on several levels."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F

from sgfd import (
    SemanticTeacher,
    SGFDLoss,
    classification_loss,
    hierarchy,
    kl_divergence,
    response_loss,
)

SIZES = (3, 5, 4)
WEIGHTS = (0.5, 0.3, 0.9)


def labels(rows: int = 20):
    generator = torch.Generator().manual_seed(4)
    y = torch.stack([torch.randint(0, c, (rows,), generator=generator) for c in SIZES], dim=1)
    y[0] = -1
    y[1:5, 1] = -1
    y[7, 2] = -1
    return y


def test_the_terms_are_weighted_sums_of_separate_losses():
    y, levels = labels(), hierarchy(SIZES, weights=WEIGHTS)
    z, s = torch.randn(2, 20, sum(SIZES), dtype=torch.float64).requires_grad_()
    got = classification_loss(z, y, divergence=levels.classification)
    separate = [
        F.cross_entropy(part, y[:, level], ignore_index=-1)
        for level, part in enumerate(z.split(SIZES, dim=1))
    ]
    torch.testing.assert_close(got, sum(w * x for w, x in zip(WEIGHTS, separate, strict=True)))

    got = response_loss(z, s, temperature=7.0, divergence=levels.response)
    parts = zip(WEIGHTS, z.split(SIZES, 1), s.split(SIZES, 1), strict=True)
    expected = sum(w * kl_divergence(a, b, 7.0).mean() for w, a, b in parts)
    torch.testing.assert_close(got, expected)
    assert (levels.response(z, z, 7.0).abs() < 1e-12).all()


def test_levels_count_alike_and_sum_to_one_unless_weighted():
    y, z = labels(), torch.randn(20, sum(SIZES))
    plain = classification_loss(z, y, divergence=hierarchy(SIZES).classification)
    thirds = hierarchy(SIZES, weights=[1 / 3] * 3)
    assert plain == classification_loss(z, y, divergence=thirds.classification)


def test_multiplicities_equal_repeated_rows():
    y, z = labels(), torch.randn(20, sum(SIZES), dtype=torch.float64)
    f = hierarchy(SIZES, weights=WEIGHTS).classification
    repeated = torch.tensor([1, 1, 1, 0, 7, 7, 12, 2, 12])
    once, counts = repeated.unique(return_counts=True)
    torch.testing.assert_close(
        classification_loss(z[once], y[once], counts, divergence=f),
        classification_loss(z[repeated], y[repeated], divergence=f),
    )


def test_class_weights_are_given_per_level():
    y, z = labels(), torch.randn(20, sum(SIZES))
    w = torch.tensor([0.5, 2.0, 1.5, 1.0, 0.25])
    got = hierarchy(SIZES, weights=WEIGHTS, class_weights=(None, w, None)).classification(z, y)
    without = hierarchy(SIZES, weights=WEIGHTS).classification(z, y)
    assert torch.equal(got[:, [0, 2]], without[:, [0, 2]])
    torch.testing.assert_close(got[:, 1], without[:, 1] * w[y[:, 1]])
    with pytest.raises(ValueError, match=r"one per class \(3\); got shape \(5,\)"):
        hierarchy(SIZES, class_weights=(w, None, None)).classification(z, y)


def test_an_item_unknown_at_one_level_is_taught_the_others():
    teacher = SemanticTeacher({"a": 6, "b": 4}, 5, sum(SIZES))
    said = teacher({"a": torch.randn(20, 6), "b": torch.randn(20, 4)})
    for z in (*said.logits.values(), said.fused_logits):
        z.retain_grad()
    levels = hierarchy(SIZES)
    loss = SGFDLoss(
        classification=levels.classification,
        fusion=levels.classification,
        response=levels.response,
        kd_weight=0,
    )
    loss(said, teacher.judge(said.embeddings), labels()).backward()
    for z in (*said.logits.values(), said.fused_logits):
        taught = torch.stack([g.abs().sum(1) > 0 for g in z.grad.split(SIZES, 1)], dim=1)
        assert torch.equal(taught, labels() >= 0)


def test_a_loss_for_a_hierarchy_can_be_copied_and_pickled():
    levels = hierarchy(SIZES, weights=WEIGHTS)
    loss = SGFDLoss(classification=levels.classification, response=levels.response)
    z, y = torch.randn(20, sum(SIZES)), labels()
    for other in (copy.deepcopy(loss), pickle.loads(pickle.dumps(loss))):
        assert torch.equal(other.classification(z, y), loss.classification(z, y))


@pytest.mark.parametrize(
    ("sizes", "options", "text"),
    [
        ((3,), {}, r"of two levels or more of two classes or more; got \(3,\)"),
        ((3, 1), {}, r"of two levels or more of two classes or more; got \(3, 1\)"),
        ((3, 4), {"weights": (1,)}, r"one per level \(2\), finite.*got \(1,\)"),
        ((3, 4), {"weights": (1, -1)}, r"at least 0 and not all 0; got \(1, -1\)"),
        ((3, 4), {"weights": (0, 0)}, r"not all 0; got \(0, 0\)"),
        ((3, 4), {"class_weights": (None,)}, r"class_weights must be one per level \(2\); got 1"),
    ],
)
def test_levels_and_weights_that_do_not_fit_are_named(sizes, options, text):
    with pytest.raises(ValueError, match=text):
        hierarchy(sizes, **options)


def test_labels_and_logits_that_do_not_fit_are_named():
    levels, z = hierarchy(SIZES), torch.randn(20, sum(SIZES))
    with pytest.raises(ValueError, match=r"3 \+ 5 \+ 4 classes takes logits of width 12; got"):
        levels.response(z[:, 1:], z[:, 1:], 1.0)
    with pytest.raises(ValueError, match=r"labels of shape \(N, 3\).*\(20, 12\); got \(20,\)"):
        levels.classification(z, labels()[:, 0])
    with pytest.raises(ValueError, match="labels of level 1 must be below 5; got 9"):
        levels.classification(z, labels() + torch.tensor([0, 5, 0]))
