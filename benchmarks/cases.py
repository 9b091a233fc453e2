"""The recommenders that are timed, and a made-up catalog of the paper's sizes for them."""

from functools import partial
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor

from sgfd import Distilled, distill, release
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Recommender


class Sizes(NamedTuple):
    """Those of the paper's Office data; speed does not depend on what the numbers say."""

    users: int = 4874
    items: int = 2406
    pairs: int = 37027
    image: int = 4096
    text: int = 1024
    classes: int = 54
    dim: int = 128


class Kind(NamedTuple):
    """A backbone, and the batch size and negatives of the release."""

    backbone: type[Recommender]
    batch_size: int
    negatives: int


KINDS = {
    "vbpr": Kind(VBPR, 2048, 1),
    "bm3": Kind(BM3, 2048, 0),
    "grcn": Kind(GRCN, 1024, 1),
    "maml": Kind(MAML, 256, 4),
}
# What is random in a step would keep two ways of computing it from being compared.
WITHOUT_DROPOUT: dict[str, dict[str, float]] = {"bm3": {"dropout": 0.0}, "maml": {"dropout": 0.0}}


class Catalog(NamedTuple):
    """Interactions to train on and to find again, no pair in both; features; labels."""

    train: csr_array
    test: csr_array
    features: dict[str, Tensor]
    labels: Tensor


def catalog(sizes: Sizes) -> Catalog:
    """As many training pairs as ``sizes`` says; about 4,500 users of Office's have a test item."""
    rng = np.random.default_rng(0)

    def draw(users: np.ndarray) -> np.ndarray:
        # Items are the more popular the lower their index.
        items = (sizes.items * rng.random(users.size) ** 2).astype(np.int64)
        return np.unique(users * sizes.items + items)

    def matrix(keys: np.ndarray) -> csr_array:
        users, items = np.divmod(keys, sizes.items)
        return csr_array((np.ones(keys.size), (users, items)), shape=(sizes.users, sizes.items))

    keys = draw(rng.integers(0, sizes.users, 2 * sizes.pairs))
    train = rng.choice(keys, sizes.pairs, replace=False)
    tested = draw(np.repeat(rng.permutation(sizes.users)[: int(0.93 * sizes.users)], 2))
    generator = torch.Generator().manual_seed(0)
    widths = {"image": sizes.image, "text": sizes.text}
    return Catalog(
        matrix(train),
        matrix(np.setdiff1d(tested, train)),
        {m: torch.randn(sizes.items, w, generator=generator) for m, w in widths.items()},
        torch.randint(0, sizes.classes, (sizes.items,), generator=generator),
    )


def plain(name: str, data: Catalog, sizes: Sizes, mathematics: str) -> Recommender:
    """A backbone of ours; of GRCN the release's command line leaves two parts out."""
    kind = KINDS[name].backbone
    options: dict[str, object] = dict(WITHOUT_DROPOUT.get(name, {}))
    if mathematics == "release" and kind is GRCN:
        options |= {"num_routings": 0, "prune": False}
    return kind(data.train, data.features, dim=sizes.dim, **options)  # type: ignore[call-arg]


def distilled(name: str, data: Catalog, sizes: Sizes, mathematics: str) -> Distilled:
    """The same with students, teacher and loss of the release or of ``distill``'s defaults."""
    model = plain(name, data, sizes, mathematics)
    if mathematics == "default":
        return distill(model, data.features, data.labels, num_classes=sizes.classes)
    # As examples/reproduce.py has it.
    activation = {"grcn": None, "maml": partial(F.leaky_relu, negative_slope=0.2)}
    preset = release.settings(
        {m: x.shape[1] for m, x in data.features.items()},
        sizes.classes,
        out_features=sizes.dim,
        activation=activation.get(name, F.leaky_relu),
        normalize=name != "maml",
        ratio=2 if name == "maml" else 4,
    )
    return distill(
        model,
        data.features,
        data.labels,
        teacher=preset.teacher,
        student=preset.student,
        loss=preset.loss,
    )
