"""Weights against imbalance."""

from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from sgfd import balanced_class_weights, classification_loss, cross_entropy


def imbalanced():
    y = torch.tensor([0] * 30 + [1] * 9 + [2] * 3 + [4] * 6 + [-1] * 5)
    return y[torch.randperm(len(y), generator=torch.Generator().manual_seed(1))]


def test_balanced_weights_are_those_of_scikit_learn():
    y = imbalanced()
    known = y[y >= 0].numpy()
    classes = np.unique(known)
    weights = balanced_class_weights(y)
    oracle = compute_class_weight("balanced", classes=classes, y=known)
    np.testing.assert_allclose(weights[classes], oracle, rtol=1e-6)
    assert weights[3] == 1  # a class without items
    assert weights.dtype == torch.float32
    assert weights[y[y >= 0]].mean().item() == pytest.approx(1)
    assert len(balanced_class_weights(y, 8)) == 8
    assert torch.equal(balanced_class_weights(y.numpy()), weights)


def test_of_multi_hot_labels_each_class_counts_by_its_items():
    y = torch.tensor([[1, 1, 0], [1, 0, 0], [-1, -1, -1], [1, 1, 0]])
    assert balanced_class_weights(y).tolist() == pytest.approx([5 / 6, 5 / 4, 1])
    unsigned = y.clamp(min=0).to(torch.uint8)
    assert balanced_class_weights(unsigned).tolist() == pytest.approx([5 / 6, 5 / 4, 1])


def test_weighted_cross_entropy_is_torchs_but_for_what_it_is_divided_by():
    y, w = imbalanced(), torch.tensor([0.2, 1.5, 3.0, 1.0, 0.7])
    z = torch.randn(len(y), 5)
    torch.testing.assert_close(
        cross_entropy(z, y, class_weights=w),
        F.cross_entropy(z, y, weight=w, ignore_index=-1, reduction="none"),
    )
    got = classification_loss(z, y, divergence=partial(cross_entropy, class_weights=w))
    known = y[y >= 0]
    by_weight = F.cross_entropy(z, y, weight=w, ignore_index=-1)
    torch.testing.assert_close(got, by_weight * w[known].sum() / len(known))
    # Balanced weights have mean 1, where the two are the same.
    balanced = balanced_class_weights(y)
    got = classification_loss(z, y, divergence=partial(cross_entropy, class_weights=balanced))
    torch.testing.assert_close(got, F.cross_entropy(z, y, weight=balanced, ignore_index=-1))


def test_weights_that_do_not_fit_are_named():
    z, y = torch.zeros(4, 3), torch.zeros(4).long()
    with pytest.raises(ValueError, match=r"class_weights must be one per class \(3\); got shape"):
        cross_entropy(z, y, class_weights=torch.ones(2))
    for bad, text in (
        (torch.full((3,), -1), "At least one label must be known"),
        (torch.ones(3), r"integers, -1 where unknown; got shape \(3,\) of torch.float32"),
    ):
        with pytest.raises(ValueError, match=text):
            balanced_class_weights(bad)
    with pytest.raises(ValueError, match="labels must be below num_classes=2; got 4"):
        balanced_class_weights(imbalanced(), 2)
