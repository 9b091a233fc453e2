"""Items with several labels, each class a yes or no."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.distributions import Bernoulli
from torch.distributions import kl_divergence as bernoulli_oracle

from sgfd import (
    FeatureStudent,
    SemanticTeacher,
    SGFDLoss,
    bernoulli_kl,
    binary_cross_entropy,
    classification_loss,
    cross_entropy,
    kl_divergence,
)

C = 6


def multi_hot(rows: int = 12, seed: int = 3):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(rows, C, generator=generator) < 0.3).long()


def test_the_label_loss_is_torchs_summed_over_the_classes():
    z, y = torch.randn(12, C), multi_hot()
    oracle = F.binary_cross_entropy_with_logits(z, y.float())
    got = classification_loss(z, y, divergence=binary_cross_entropy)
    torch.testing.assert_close(got, C * oracle)


def test_class_weights_are_those_of_torch():
    z, y, w = torch.randn(12, C), multi_hot(), torch.arange(1.0, C + 1) / 4
    oracle = F.binary_cross_entropy_with_logits(z, y.float(), weight=w, reduction="none")
    torch.testing.assert_close(binary_cross_entropy(z, y, class_weights=w), oracle)
    with pytest.raises(ValueError, match=r"one per class \(6\); got shape \(5,\)"):
        binary_cross_entropy(z, y, class_weights=w[:5])


def test_rows_and_entries_that_are_unknown_take_no_part():
    z, y = torch.randn(12, C), multi_hot()
    y[[2, 5]] = -1
    known = y[:, 0] >= 0
    oracle = C * F.binary_cross_entropy_with_logits(z[known], y[known].float())
    got = classification_loss(z, y, divergence=binary_cross_entropy)
    torch.testing.assert_close(got, oracle)

    y[4, 1] = -1  # of one item, one class is unknown
    z.requires_grad_()
    got = classification_loss(z, y, divergence=binary_cross_entropy)
    per_class = [
        F.binary_cross_entropy_with_logits(z[y[:, c] >= 0, c], y[y[:, c] >= 0, c].float())
        for c in range(C)
    ]
    torch.testing.assert_close(got, sum(per_class))
    got.backward()
    assert torch.equal(z.grad == 0, y < 0)
    nothing = classification_loss(z, torch.full((12, C), -1), divergence=binary_cross_entropy)
    assert nothing == 0


@pytest.mark.parametrize("temperature", [0.7, 1.0, 10.0])
def test_the_response_divergence_is_the_mean_over_classes_of_that_of_coins(temperature):
    t, s = torch.randn(2, 9, C, dtype=torch.float64)
    coins = [Bernoulli(logits=z / temperature) for z in (t, s)]
    oracle = temperature**2 * bernoulli_oracle(*coins).mean(1)
    torch.testing.assert_close(bernoulli_kl(t, s, temperature), oracle)
    assert (bernoulli_kl(t, t, temperature) == 0).all()
    assert (oracle > 0).all()


def test_both_have_the_gradients_of_their_values():
    z = torch.randn(4, C, dtype=torch.float64, requires_grad=True)
    t = torch.randn(4, C, dtype=torch.float64, requires_grad=True)
    y = multi_hot(4)
    y[1] = -1
    assert torch.autograd.gradcheck(lambda z: binary_cross_entropy(z, y), (z,))
    assert torch.autograd.gradcheck(lambda t, s: bernoulli_kl(t, s, 3.0), (t, z))


@pytest.mark.parametrize("classes", [4, 40, 400])
def test_the_terms_keep_the_scale_of_one_label_whatever_the_classes(classes):
    # At base rates of one in C: log C by cross-entropy, log C + 1 at most by the sum.
    rates = torch.full((classes,), -math.log(classes - 1)).expand(classes, classes)
    eye = torch.eye(classes).long()
    several = classification_loss(rates, eye, divergence=binary_cross_entropy)
    one = classification_loss(torch.zeros(classes, classes), torch.arange(classes))
    assert one <= several <= one + 1
    # At a high temperature: half the variance, and an eighth of the mean square.
    t, s = torch.randn(2, 500, classes, dtype=torch.float64)
    ratio = bernoulli_kl(t, s, 100.0).mean() / kl_divergence(t, s, 100.0).mean()
    assert ratio == pytest.approx(classes / (classes - 1) / 4, rel=0.05)


def test_half_precision_loses_nothing():
    z, s, y = torch.randn(5, C), torch.randn(5, C), multi_hot(5)
    for dtype in (torch.float16, torch.bfloat16):
        a, b = z.to(dtype), s.to(dtype)
        exact = binary_cross_entropy(a.float(), y), bernoulli_kl(a.float(), b.float(), 10.0)
        torch.testing.assert_close(binary_cross_entropy(a, y), exact[0])
        torch.testing.assert_close(bernoulli_kl(a, b, 10.0), exact[1])


def setting():
    torch.manual_seed(3)
    teacher = SemanticTeacher({"a": 9, "b": 5}, 4, C).double()
    students = {m: FeatureStudent(f, 4, dtype=torch.float64) for m, f in {"a": 9, "b": 5}.items()}
    x = {"a": torch.randn(12, 9).double(), "b": torch.randn(12, 5).double()}
    loss = SGFDLoss(
        ce_weight=0.3,
        kd_weight=0.7,
        temperature=5,
        classification=binary_cross_entropy,
        fusion=binary_cross_entropy,
        response=bernoulli_kl,
    )

    def terms(rows, labels, counts=None):
        picked = {m: x[m][rows] for m in x}
        learned = teacher.judge({m: students[m].embed(v) for m, v in picked.items()})
        return loss.terms(teacher(picked), learned, labels[rows], counts), teacher(picked), learned

    return terms


def test_terms_equal_the_equations_written_out():
    y = multi_hot()
    y[7] = -1
    terms, taught, learned = setting()(torch.arange(12), y)
    known = y[:, 0] >= 0

    def bce(z):
        p, t = z[known].sigmoid(), y[known]
        return -(t * p.log() + (1 - t) * (1 - p).log()).sum(1).mean()

    torch.testing.assert_close(terms.classification, sum(map(bce, taught.logits.values())) / 2)
    torch.testing.assert_close(terms.fusion, bce(taught.fused_logits))
    response = 0.0
    for m in "ab":
        p, q = ((said.logits[m] / 5).sigmoid() for said in (taught, learned))
        kl = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        response = response + 25 * kl.mean() / 2
    torch.testing.assert_close(terms.response, response)
    total = 0.3 * (terms.classification + terms.fusion) + 0.7 * (response + terms.feature)
    torch.testing.assert_close(terms.total, total)


def test_multiplicities_equal_repeated_rows():
    y = multi_hot()
    y[3], y[4, 2] = -1, -1
    terms, repeated = setting(), torch.tensor([3, 4, 4, 4, 0, 9, 9, 11, 3])
    once, counts = repeated.unique(return_counts=True)
    torch.testing.assert_close(terms(once, y, counts)[0], terms(repeated, y)[0])


def test_labels_of_another_kind_are_refused_by_name():
    z = torch.randn(12, C)
    with pytest.raises(ValueError, match=r"multi-hot labels.*\(12, 6\); got \(12,\). For one"):
        binary_cross_entropy(z, torch.zeros(12).long())
    with pytest.raises(ValueError, match=r"shape \(12, 6\). For multi-hot labels there is binary"):
        cross_entropy(z, multi_hot())
    terms = setting()
    with pytest.raises(ValueError, match=r"labels must be 0 or 1 \(-1 for unknown\); got 0\.\.2"):
        terms(torch.arange(12), 2 * multi_hot())


def test_a_label_loss_must_give_one_value_per_label():
    with pytest.raises(ValueError, match=r"one value per label, \(12, 6\); got \(12,\)"):
        classification_loss(torch.zeros(12, C), multi_hot(), divergence=lambda z, y: z.sum(1))
