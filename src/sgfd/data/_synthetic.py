"""A made-up catalog, for examples and tests."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.special import softmax

from sgfd._checks import check_integer, check_mapping, check_number
from sgfd.data._dataset import Dataset
from sgfd.data._split import hold_out

_WIDTHS = {"image": 256, "text": 64}


def synthetic_catalog(
    *,
    num_users: int = 1500,
    num_items: int = 800,
    num_classes: int = 10,
    interactions_per_user: int = 8,
    widths: Mapping[str, int] | None = None,
    label_signal: float = 1.0,
    noise: float = 0.5,
    nuisance: float = 1.0,
    class_strength: float = 3.0,
    taste_strength: float = 0.5,
    popularity_strength: float = 0.5,
    taste_dim: int = 8,
    nuisance_dim: int = 32,
    unlabeled: float = 0.0,
    test_fraction: float = 0.25,
    valid_fraction: float = 0.1,
    seed: int = 0,
) -> Dataset:
    r"""Draws users with tastes, and items whose features hide what the tastes are about.

    Item i has a class c(i), classes being of unequal size, and a finer style z(i) in R^t, both
    hidden. User u likes each class to a degree a(u) in R^C and styles near b(u) in R^t, and picks
    items without replacement with probabilities proportional to exp(s(u, i)),

        s(u, i) = class_strength a(u)_c(i) + taste_strength <b(u), z(i)> / sqrt(t)
                  + popularity_strength p(i),

    with a, b, z, p standard normal. A modality of width F shows neither class nor style, but

        x(i) = tanh(h(i) A + d) B + noise e(i),    h(i) = [m(c(i)), z(i), nuisance n(i)],

    where m(c) is the class's random direction in R^t, n(i) in R^n is what interests nobody, A, B
    and d are random and the modality's own, and tanh(...) B has unit variance. The label is the
    class with probability ``label_signal``; otherwise it is drawn anew from the class sizes,
    independent of everything. Nothing but the labels depends on ``label_signal``.

    What it does not resemble: real catalogs have long-tailed activity, time, prices, features
    of unequal quality by item, labels in hierarchies, labels that features already show well, and
    users who do not pick by any formula. The method's premise (taste follows labels, features
    bury it) is built in, so a gain here shows that the code works and says nothing about the
    worth of the method. With ``label_signal=0`` labels cannot teach, and the gain should vanish.

    Args:
        num_users: number of users.
        num_items: number of items.
        num_classes: number of classes, each with at least one item.
        interactions_per_user: their mean before the split; max(3, a third of it) are sure and
            the rest is Poisson.
        widths: F by modality; None is ``{"image": 256, "text": 64}``.
        label_signal: the share of labels that are the class, in [0, 1].
        noise: standard deviation of e(i), beside a signal of 1.
        nuisance: scale of n(i), beside 1 for the style.
        class_strength: how much classes decide; 0 makes them irrelevant to taste.
        taste_strength: how much styles decide.
        popularity_strength: how much popularity decides.
        taste_dim: t.
        nuisance_dim: n; the more, the deeper class and style are buried.
        unlabeled: the share of items whose label is unknown, in [0, 1).
        test_fraction: share of each user's interactions held out as test (``hold_out``).
        valid_fraction: share of the rest held out as validation.
        seed: the same seed gives the same catalog, under one version of NumPy.

    Returns:
        A dataset named "synthetic".

    Raises:
        ValueError: if a size is too small, or a share or strength out of range.

    Example:
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog(num_users=40, num_items=30, num_classes=3)
        >>> data.train.shape, data.widths, data.num_classes
        ((40, 30), {'image': 256, 'text': 64}, 3)
    """
    widths = _WIDTHS if widths is None else widths
    check_integer("num_users", num_users, at_least=1)
    check_integer("num_classes", num_classes, at_least=1)
    check_integer("num_items", num_items, at_least=num_classes)
    check_integer(
        "interactions_per_user", interactions_per_user, at_least=3, below=num_items // 2 + 1
    )
    check_integer("taste_dim", taste_dim, at_least=1)
    check_integer("nuisance_dim", nuisance_dim, at_least=0)
    check_integer("seed", seed, at_least=0)
    check_mapping("widths", widths)
    for name, width in widths.items():
        check_integer(f"widths[{name!r}]", width, at_least=1)
    strengths = {
        "class": class_strength,
        "taste": taste_strength,
        "popularity": popularity_strength,
    }
    for name, strength in strengths.items():
        check_number(f"{name}_strength", strength)
    check_number("noise", noise, at_least=0)
    check_number("nuisance", nuisance, at_least=0)
    check_number("unlabeled", unlabeled, at_least=0, below=1)
    check_number("label_signal", label_signal, at_least=0)
    if label_signal > 1:
        raise ValueError(f"label_signal must be at most 1; got {label_signal}.")
    # A generator for each ingredient, so that a knob moves nothing but its own.
    items_rng, users_rng, features_rng, labels_rng = map(
        np.random.default_rng, np.random.SeedSequence(seed).spawn(4)
    )
    sizes = softmax(0.5 * items_rng.standard_normal(num_classes))
    classes = _draw_classes(sizes, num_items, items_rng)
    style = items_rng.standard_normal((num_items, taste_dim))
    popularity = items_rng.standard_normal(num_items)

    likes = users_rng.standard_normal((num_users, num_classes))
    taste = users_rng.standard_normal((num_users, taste_dim))
    utility = (
        class_strength * likes[:, classes]
        + taste_strength * taste @ style.T / np.sqrt(taste_dim)
        + popularity_strength * popularity
    )
    interactions = _pick(utility, interactions_per_user, users_rng)

    meaning = features_rng.standard_normal((num_classes, taste_dim))[classes]
    features = {
        name: _mix(
            [meaning, style, nuisance * features_rng.standard_normal((num_items, nuisance_dim))],
            width,
            noise,
            features_rng,
        )
        for name, width in widths.items()
    }

    labels = classes.copy()
    random = labels_rng.random(num_items) >= label_signal
    labels[random] = labels_rng.choice(num_classes, size=num_items, p=sizes)[random]
    labels[labels_rng.random(num_items) < unlabeled] = -1

    stream = np.random.SeedSequence(seed, spawn_key=(4,))
    train, test = hold_out(interactions, fraction=test_fraction, seed=stream)
    return Dataset.from_arrays(
        train,
        test,
        features=features,
        labels=labels,
        label_names=[f"class {index}" for index in range(num_classes)],
        valid_fraction=valid_fraction,
        seed=seed,
        name="synthetic",
    )


def _draw_classes(
    sizes: npt.NDArray[np.float64], num_items: int, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    classes = rng.choice(sizes.size, size=num_items, p=sizes)
    classes[: sizes.size] = np.arange(sizes.size)  # none stays without an item
    return rng.permutation(classes)


def _pick(utility: npt.NDArray[np.float64], mean: int, rng: np.random.Generator) -> csr_array:
    """Each user's items, without replacement, by the Gumbel top-k trick."""
    num_users, num_items = utility.shape
    sure = max(mean // 3, 3)
    counts = np.minimum(sure + rng.poisson(mean - sure, size=num_users), num_items - 1)
    perturbed = utility + rng.gumbel(size=utility.shape)
    ranks = np.argsort(np.argsort(-perturbed, axis=1), axis=1)
    return csr_array((ranks < counts[:, None]).astype(np.float32))


def _mix(
    hidden: list[npt.NDArray[np.float64]],
    width: int,
    noise: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Nonlinear mixing of hidden columns into a modality of some width."""
    together = np.concatenate(hidden, axis=1)
    inner = 2 * together.shape[1]
    first = rng.standard_normal((together.shape[1], inner)) * np.sqrt(2 / together.shape[1])
    mixed = np.tanh(together @ first + rng.standard_normal(inner))
    mixed = mixed @ rng.standard_normal((inner, width))
    noisy: npt.NDArray[np.float64] = mixed / mixed.std() + noise * rng.standard_normal(mixed.shape)
    return noisy.astype(np.float32)
