"""Vectors whose inner products are the scores."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sgfd import distill, paper_student
from sgfd.backbones import BM3, GRCN, MAML, VBPR

USERS, ITEMS = 9, 11


def features():
    generator = torch.Generator().manual_seed(1)
    return {m: torch.randn(ITEMS, w, generator=generator) for m, w in (("image", 8), ("text", 6))}


def built(kind, student=None, **options):
    matrix = csr_array((np.random.default_rng(0).random((USERS, ITEMS)) < 0.4).astype(float))
    model = kind(matrix, features(), dim=4, seed=3, **options)
    with torch.no_grad():  # biases too
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.manual_seed(5)))
    if student is not None:
        model = distill(model, features(), torch.arange(ITEMS) % 3, student=student)
    return model.eval()


@pytest.mark.parametrize("student", [None, paper_student])
@pytest.mark.parametrize(
    ("kind", "options", "width"),
    [
        (BM3, {}, 4),
        (GRCN, {"dropout": 0.5}, 12),
        (VBPR, {}, 13),
        (VBPR, {"feature_bias": True}, 13),
    ],
)
def test_the_inner_products_of_vectors_are_the_scores(kind, options, width, student):
    model = built(kind, student, **options)
    users, items = model.vectors()
    assert (users.shape, items.shape) == ((USERS, width), (ITEMS, width))
    assert not users.requires_grad
    assert not items.requires_grad
    torch.testing.assert_close(users @ items.T, model.scores(torch.arange(USERS)))
    model.train()  # dropout has no part in them
    assert torch.equal(model.vectors().items, items)


def test_vbprs_last_column_is_the_bias_of_items():
    model = built(VBPR, feature_bias=True)
    users, items = model.vectors()
    assert torch.equal(users[:, -1], torch.ones(USERS))
    bias = model.item_bias.weight[:, 0]
    for m, x in features().items():
        bias = bias + x @ model.feature_bias[m]
    torch.testing.assert_close(items[:, -1], bias.detach())


@pytest.mark.parametrize("student", [None, paper_student])
def test_maml_has_none_and_says_so(student):
    with pytest.raises(
        NotImplementedError, match=r"MAML has no vectors: .* not inner products.*VBPR, GRCN and BM3"
    ):
        built(MAML, student).vectors()
