"""What the study runs, declared before it is run: data, seeds, epochs, comparisons."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from sgfd import pseudo_labels
from sgfd.data import Dataset, synthetic_catalog

Params = dict[str, Any]
BACKBONES = ("vbpr", "bm3", "grcn", "maml")
CLUSTERS = 30  # of behavior, and of content where there are no categories
TRIALS = 12  # of every arm that is tuned
DIM = 64


class Source(NamedTuple):
    """One dataset of the study."""

    load: Callable[[Path, int], Dataset]
    seeds: tuple[int, ...]
    max_epochs: int
    patience: int
    batch_size: int = 2048


class Places(NamedTuple):
    """Where things are: the datasets, what is kept, and what a run needs while it lasts."""

    root: Path
    results: Path
    scratch: Path


class Run(NamedTuple):
    """One training of the grid. Yardsticks without features have the backbone "none"."""

    data: str
    backbone: str
    arm: str
    seed: int

    @property
    def name(self) -> str:
        return "_".join(map(str, self))


def _folder(name: str, *modalities: str) -> Callable[[Path, int], Dataset]:
    return lambda root, seed: Dataset.load(root / name, modalities=modalities, seed=seed)


def _clustered(root: Path, seed: int) -> Dataset:
    data = Dataset.load(root / "tiktok", modalities=("Image", "Audio"), seed=seed)
    return with_labels(data, pseudo_labels(data.features, CLUSTERS, repeats=0).labels.numpy())


def _made_up(_: Path, seed: int) -> Dataset:
    made = synthetic_catalog(num_users=120, num_items=60, num_classes=4, valid_fraction=0)
    return Dataset.from_arrays(
        made.train, made.test, features=made.features, labels=made.labels, seed=seed, name=made.name
    )


def with_labels(data: Dataset, labels: Any) -> Dataset:
    """The same catalog with other labels."""
    names = tuple(map(str, range(int(labels.max()) + 1)))
    return replace(data, labels=labels, label_names=names)


DATA: Mapping[str, Source] = {
    "office": Source(_folder("office", "Title", "Desc"), (0, 1, 2, 3, 4), 200, 10),
    "toys": Source(_folder("toys", "Text"), (0, 1, 2, 3, 4), 100, 6),
    "ml1m": Source(_folder("ml1m", "Image", "Text"), (0, 1, 2), 60, 5, 8192),
    "tiktok": Source(_clustered, (0, 1, 2, 3, 4), 200, 10),
    "made-up": Source(_made_up, (0, 1), 3, 2, 256),  # for trying the program, and its tests
}
GRID = ("office", "toys", "ml1m", "tiktok")

# Each a family of its own: Holm over all its cells, 4 datasets x 4 backbones, run or not.
FAMILIES: tuple[tuple[str, str], ...] = (
    ("ours", "plain"),
    ("release", "plain"),
    ("ours", "alone"),
    ("ours", "labels-shuffled"),
    ("ours-behavior", "plain"),
)
PRIMARY = "ndcg@20"


def digest(params: Params) -> str:
    """A short name of a configuration."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:10]
