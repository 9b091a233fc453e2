import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from sgfd import FeatureStudent, SemanticTeacher, SGFDLoss, release
from sgfd._terms import (
    classification_loss,
    cross_entropy,
    feature_loss,
    kl_divergence,
    response_loss,
    squared_distance,
)


def setting(rows: int = 12, seed: int = 3):
    torch.manual_seed(seed)
    teacher = SemanticTeacher({"a": 9, "b": 5}, 4, 6).double()
    students = {m: FeatureStudent(f, 4, dtype=torch.float64) for m, f in {"a": 9, "b": 5}.items()}
    x = {"a": torch.randn(rows, 9).double(), "b": torch.randn(rows, 5).double()}
    labels = torch.randint(0, 6, (rows,))
    labels[::4] = -1
    return teacher, students, x, labels


def learned_of(teacher, students, x):
    return teacher.judge({m: students[m].embed(x[m]) for m in x})


def test_terms_equal_the_equations_written_out():
    teacher, students, x, labels = setting()
    loss = SGFDLoss(ce_weight=0.3, kd_weight=0.7, temperature=5)
    taught, learned = teacher(x), learned_of(teacher, students, x)
    terms = loss.terms(taught, learned, labels)

    known = labels >= 0
    ce = [F.cross_entropy(taught.logits[m][known], labels[known]) for m in "ab"]
    torch.testing.assert_close(terms.classification, sum(ce) / 2)
    fusion = F.cross_entropy(taught.fused_logits[known], labels[known])
    torch.testing.assert_close(terms.fusion, fusion)
    response = 0.0
    for m in "ab":
        p, q = ((said.logits[m] / 5).softmax(1) for said in (taught, learned))
        response = response + 25 * (p * (p / q).log()).sum(1).mean() / 2
    torch.testing.assert_close(terms.response, response)
    feature = sum((taught.embeddings[m] - learned.embeddings[m]).pow(2).sum(1).mean() for m in "ab")
    torch.testing.assert_close(terms.feature, feature / 2)
    total = 0.3 * (sum(ce) / 2 + fusion) + 0.7 * (response + feature / 2)
    torch.testing.assert_close(terms.total, total)
    assert torch.equal(loss(taught, learned, labels), terms.total)


def test_unlabelled_items_are_not_classified_but_are_distilled():
    teacher, students, x, labels = setting()
    taught, learned = teacher(x), learned_of(teacher, students, x)
    for m in "ab":
        taught.embeddings[m].retain_grad()
        taught.logits[m].retain_grad()
        learned.embeddings[m].retain_grad()
    SGFDLoss(ce_weight=0.3, kd_weight=0.7).terms(taught, learned, labels).total.backward()
    for m in "ab":
        classified = taught.logits[m].grad.abs().sum(1) > 0
        assert torch.equal(classified, labels >= 0)
        assert (learned.embeddings[m].grad.abs().sum(1) > 0).all()


def test_a_batch_without_labels_has_a_classification_term_of_zero():
    teacher, students, x, _ = setting()
    labels = torch.full((12,), -1)
    terms = SGFDLoss().terms(teacher(x), learned_of(teacher, students, x), labels)
    assert terms.classification == 0
    assert terms.fusion == 0
    assert terms.response > 0
    terms.total.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in teacher.parameters())


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=40), st.booleans())
def test_multiplicities_equal_repeated_rows_with_their_gradients(items, detach):
    teacher, students, x, labels = setting()
    loss = SGFDLoss(ce_weight=0.3, kd_weight=0.7, detach_teacher=detach)
    leaves = [p for module in (teacher, *students.values()) for p in module.parameters()]

    def gradients(rows, counts):
        picked = {m: x[m][rows] for m in x}
        learned = learned_of(teacher, students, picked)
        terms = loss.terms(teacher(picked), learned, labels[rows], counts)
        return terms, torch.autograd.grad(terms.total, leaves, allow_unused=True)

    repeated = torch.tensor(items)
    terms, grads = gradients(repeated, None)
    few_terms, few_grads = gradients(*repeated.unique(return_counts=True))
    torch.testing.assert_close(few_terms, terms)
    torch.testing.assert_close(few_grads, grads)


def test_a_detached_teacher_learns_from_labels_only():
    teacher, students, x, labels = setting()
    terms = SGFDLoss(ce_weight=0, kd_weight=1).terms(
        teacher(x), learned_of(teacher, students, x), labels
    )
    terms.total.backward()
    for p in teacher.extractors.parameters():
        assert p.grad is None or (p.grad == 0).all()
    # The classifiers are the students' too.
    assert all((p.grad != 0).any() for p in teacher.classifiers.parameters())
    assert all((p.grad != 0).any() for s in students.values() for p in s.parameters())


def test_a_part_without_weight_gives_no_gradient_at_all():
    teacher, students, x, labels = setting()
    taught, learned = teacher(x), learned_of(teacher, students, x)
    nothing = SGFDLoss(ce_weight=0, kd_weight=0).terms(taught, learned, labels)
    assert nothing.total == 0
    assert not nothing.total.requires_grad
    assert nothing.response > 0
    SGFDLoss(ce_weight=1, kd_weight=0)(taught, learned, labels).backward()
    assert all(p.grad is None for s in students.values() for p in s.parameters())


def test_an_attached_teacher_also_comes_to_the_student():
    teacher, students, x, labels = setting()
    loss = SGFDLoss(ce_weight=0, kd_weight=1, detach_teacher=False)
    loss(teacher(x), learned_of(teacher, students, x), labels).backward()
    assert all((p.grad != 0).any() for p in teacher.extractors.parameters())


def test_the_response_gradient_keeps_its_size_as_the_temperature_grows():
    teacher_logits = torch.randn(50, 6, dtype=torch.float64)
    sizes = []
    for temperature in (10.0, 100.0):
        z = torch.randn(50, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        z.requires_grad_()
        response_loss(teacher_logits, z, temperature=temperature).backward()
        sizes.append(float(z.grad.norm()))
    assert sizes[1] / sizes[0] == pytest.approx(1, abs=0.1)


def test_half_precision_loses_no_term():
    # 70,000 exceeds the largest float16, and small divergences vanish in bfloat16.
    z, s, y = torch.randn(5, 9), torch.randn(5, 9), torch.tensor([0, 8, -1, 3, 4])
    n = torch.tensor([20000, 20000, 10000, 10000, 10000])
    for dtype in (torch.float16, torch.bfloat16):
        a, b = z.to(dtype), s.to(dtype)
        exact = classification_loss(a.float(), y, n), response_loss(a.float(), b.float(), n)
        torch.testing.assert_close(classification_loss(a, y, n), exact[0])
        torch.testing.assert_close(response_loss(a, b, n), exact[1])
        assert (kl_divergence(a, b, 10.0) >= 0).all()
        assert (release.mean_absolute_difference(a, b, 10.0) > 0).all()


def test_a_label_loss_of_ones_own_need_not_know_of_unknown_labels():
    z, y = torch.randn(4, 3), torch.tensor([2, -1, 0, -1])

    def smoothed(logits, labels):
        assert (labels >= 0).all()
        loss = F.cross_entropy(logits, labels, label_smoothing=0.1, reduction="none")
        return torch.where(torch.tensor([False, True, False, False]), torch.nan, loss)

    got = classification_loss(z, y, divergence=smoothed)
    torch.testing.assert_close(got, F.cross_entropy(z[[0, 2]], y[[0, 2]], label_smoothing=0.1))


def test_divergences_of_equal_inputs_are_zero():
    z = torch.randn(4, 3)
    assert kl_divergence(z, z, 7.0).abs().max() < 1e-5
    assert (squared_distance(z, z) == 0).all()
    assert (cross_entropy(z, torch.full((4,), -1)) == 0).all()


def test_squared_distance_does_not_vanish_in_half_precision():
    a = torch.full((1, 4), 1.0, dtype=torch.float16)
    b = torch.full((1, 4), 1.0 + 2**-10, dtype=torch.float16)
    assert squared_distance(a, b).item() == pytest.approx(4 * 2**-20)


def test_other_divergences_are_passed_as_functions():
    teacher, students, x, labels = setting()
    loss = SGFDLoss(
        classification=lambda z, y: z[:, 0] * 0 + 2,
        fusion=lambda z, y: z[:, 0] * 0 + 3,
        response=lambda t, s, temperature: s[:, 0] * 0 + temperature,
        feature=lambda t, s: s[:, 0] * 0 + 5,
        ce_weight=1,
        kd_weight=10,
        temperature=4,
    )
    terms = loss.terms(teacher(x), learned_of(teacher, students, x), labels)
    assert [t.item() for t in terms] == [1 * (2 + 3) + 10 * (4 + 5), 2, 3, 4, 5]


def test_term_functions_average_by_multiplicity():
    z = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 0.0]])
    y, n = torch.tensor([0, -1, 1]), torch.tensor([1, 5, 3])
    each = [math.log(1 + math.exp(-1)), None, math.log(1 + math.exp(3))]
    assert float(classification_loss(z, y, n)) == pytest.approx((each[0] + 3 * each[2]) / 4)
    assert float(feature_loss(z, torch.zeros(3, 2), n)) == pytest.approx((1 + 5 * 4 + 3 * 9) / 9)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ce_weight": -1}, "ce_weight must be at least 0 and finite; got -1"),
        ({"kd_weight": math.nan}, "kd_weight must be at least 0 and finite; got nan"),
        ({"temperature": 0}, "temperature must be above 0 and finite; got 0"),
    ],
)
def test_bad_weights_are_named(options, text):
    with pytest.raises(ValueError, match=text):
        SGFDLoss(**options)


def test_bad_labels_are_named():
    teacher, students, x, labels = setting()
    loss, taught, learned = SGFDLoss(), teacher(x), learned_of(teacher, students, x)
    for bad, text in (
        (labels[:5], r"one label per row.*shape \(5,\) and logits of \[12\] rows"),
        (labels.float(), "labels must be int64"),
        (labels + 5, r"labels must be in -1\.\.5 .* got 4\.\."),
        (labels - 2, r"labels must be in -1\.\.5 .* got -3\.\."),
    ):
        with pytest.raises(ValueError, match=text):
            loss.terms(taught, learned, bad)
    with pytest.raises(ValueError, match=r"multiplicity must have the labels' shape \(12,\)"):
        loss.terms(taught, learned, labels, torch.ones(3))
    only = teacher.judge(learned.embeddings)._replace(logits={"a": learned.logits["a"]})
    with pytest.raises(ValueError, match=r"the same modalities; got \['a', 'b'\] and \['a'\]"):
        loss.terms(taught, only, labels)


def test_weights_may_be_set_later_and_are_checked_then_too():
    loss = SGFDLoss()
    loss.kd_weight = 0.5
    assert loss.kd_weight == 0.5
    for name in ("ce_weight", "kd_weight"):
        with pytest.raises(ValueError, match=f"{name} must be at least 0 and finite; got -1"):
            setattr(loss, name, -1)
