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
DIM = 64


class Source(NamedTuple):
    """One dataset of the study."""

    load: Callable[[Path, int], Dataset]
    max_epochs: int
    patience: int
    batch_size: int = 2048


# Of most cells: what the families compare, and the label as a feature.
MAIN_ARMS = (
    "plain",
    "alone",
    "unit-rows",
    "release",
    "ours",
    "labels-shuffled",
    "ours-behavior",
    "plain-label",
)
# Where the release's student is another than the paper's.
OWN_FORM = (*MAIN_ARMS, "release-kd-0")
# GRCN puts unit rows upon its layer, so with unit rows it is plain.
OWN_LAYER = tuple(arm for arm in OWN_FORM if arm != "unit-rows")
# Where there was time: the other half of the paper's student, and a control of the release.
MORE = ("leaky-relu", "release-shuffled")
LABEL_BESIDE = ("plain-label-shuffled", "alone-label")
# Where the test part is not read: the student at the first weight, a setting of BM3 that no arm
# tunes, and distill() as it comes.
AT_FIRST_WEIGHT = ("taught", "taught-shuffled")
CL_WEIGHT = ("plain-cl-.2", "alone-cl-.2")
FOR_VALIDATION = ("distill-.01", "distill-.001", *AT_FIRST_WEIGHT, *CL_WEIGHT)


class Effort(NamedTuple):
    """What a cell is worth in time, the same for each of its arms.

    Attributes:
        trials: of every arm that is tuned, from what the explorers chose.
        explore: of the explorers, plain and the student alone, from fixed points.
        seeds: of the runs; the first is that of tuning.
        valid_users: how many validation users epochs and configurations are chosen by; None: all.
        arms: that are run; None: all.
    """

    trials: int
    explore: int
    seeds: tuple[int, ...]
    valid_users: int | None = None
    arms: tuple[str, ...] | None = MAIN_ARMS


class Places(NamedTuple):
    """Where things are: the datasets, what is kept, and what a run needs while it lasts."""

    root: Path
    results: Path
    scratch: Path


class Run(NamedTuple):
    """One training of the grid. The yardsticks have the backbone "none"."""

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
    "office": Source(_folder("office", "Title", "Desc"), 200, 10),
    "toys": Source(_folder("toys", "Text"), 100, 6),
    "ml1m": Source(_folder("ml1m", "Image", "Text"), 60, 3, 8192),
    "tiktok": Source(_clustered, 200, 25),  # it rises again after 15 epochs of rest
    "made-up": Source(_made_up, 3, 2, 256),  # for trying the program, and its tests
}
# Where it is not the dataset's: a step of GRCN walks the whole graph, however few its pairs.
BATCH_SIZES: Mapping[tuple[str, str], int] = {
    ("toys", "grcn"): 8192,
    ("ml1m", "grcn"): 32768,
    ("tiktok", "grcn"): 8192,
}
# Where it is not the dataset's, whose three epochs had ended runs of VBPR too early.
PATIENCE: Mapping[tuple[str, str], int] = {
    ("ml1m", "bm3"): 5,
    ("ml1m", "grcn"): 5,
    ("ml1m", "maml"): 5,
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
# What the layer does that the recommender reads, with no teacher.
LAYER: tuple[tuple[str, str], ...] = (
    ("alone", "plain"),
    ("unit-rows", "plain"),
    ("leaky-relu", "plain"),
)
# What else is of interest: intervals, no tests.
BESIDES: tuple[tuple[str, str], ...] = (
    *LAYER,
    ("plain-label", "plain"),
    ("plain-label", "plain-label-shuffled"),
    ("alone-label", "alone"),
    ("alone-label", "plain"),
    ("labels-shuffled", "plain"),
    ("release", "alone"),
    ("release", "release-kd-0"),
    ("release", "release-shuffled"),
    ("kd-0", "alone"),
    ("taught", "alone"),
    ("taught-shuffled", "alone"),
    ("taught", "taught-shuffled"),
    ("plain-cl-.2", "plain"),
    ("alone-cl-.2", "alone"),
    ("alone-cl-.2", "plain-cl-.2"),
    ("distill-.01", "plain"),
    ("distill-.001", "plain"),
    ("ours-both", "plain"),
    ("plain-behavior", "plain"),
    ("plain-standardized", "plain"),
    ("plain-features-shuffled", "plain"),
    ("features-shuffled", "ours"),
    *(
        (arm, "ours")
        for arm in ("ce-0", "kd-0", "inner-off", "l1", "teacher-gradient", "fusion-off")
    ),
)
PRIMARY = "ndcg@20"

FIVE, THREE = (0, 1, 2, 3, 4), (0, 1, 2)
EFFORT: Mapping[tuple[str, str], Effort] = {
    ("office", "vbpr"): Effort(4, 12, FIVE, arms=None),
    ("office", "bm3"): Effort(4, 8, FIVE, arms=(*MAIN_ARMS, *MORE, *FOR_VALIDATION)),
    ("office", "grcn"): Effort(3, 6, FIVE, arms=(*OWN_FORM, *MORE)),
    ("office", "maml"): Effort(3, 6, FIVE, valid_users=600, arms=(*OWN_FORM, *MORE)),
    ("toys", "vbpr"): Effort(3, 6, THREE, arms=(*MAIN_ARMS, *AT_FIRST_WEIGHT, *LABEL_BESIDE)),
    ("toys", "bm3"): Effort(3, 6, THREE, arms=(*MAIN_ARMS, *AT_FIRST_WEIGHT, *CL_WEIGHT)),
    ("toys", "grcn"): Effort(3, 6, THREE, arms=(*OWN_LAYER, *AT_FIRST_WEIGHT)),
    ("toys", "maml"): Effort(1, 2, (0, 1), valid_users=600, arms=OWN_FORM),
    ("ml1m", "vbpr"): Effort(3, 6, THREE),
    ("ml1m", "bm3"): Effort(3, 6, THREE, arms=(*MAIN_ARMS, *CL_WEIGHT)),
    ("ml1m", "grcn"): Effort(1, 2, THREE, arms=OWN_LAYER),
    ("ml1m", "maml"): Effort(1, 2, THREE, valid_users=600, arms=OWN_FORM),
    ("tiktok", "vbpr"): Effort(4, 8, FIVE),
    ("tiktok", "bm3"): Effort(3, 6, FIVE, arms=(*MAIN_ARMS, *CL_WEIGHT)),
    ("tiktok", "grcn"): Effort(3, 6, FIVE, arms=OWN_LAYER),
    ("tiktok", "maml"): Effort(3, 6, FIVE, valid_users=600, arms=OWN_FORM),
}


EXPLORERS = ("plain", "alone")


def trials_of(data: str, backbone: str, arm: str) -> int:
    """How many trials an arm has, if it is tuned by itself."""
    own = effort(data, backbone)
    return own.explore if arm in EXPLORERS else own.trials


def effort(data: str, backbone: str) -> Effort:
    """Of a cell; the yardsticks, "none", have the most of their dataset."""
    if data == "made-up":
        return Effort(12, 12, (0, 1), arms=None)
    if backbone == "none":
        return Effort(12, 12, THREE if data in ("ml1m", "toys") else FIVE, arms=None)
    return EFFORT[data, backbone]


def batch_size(data: str, backbone: str) -> int:
    """Pairs of a step."""
    return BATCH_SIZES.get((data, backbone), DATA[data].batch_size)


def patience(data: str, backbone: str) -> int:
    """Epochs without a better one, after which a run ends."""
    return PATIENCE.get((data, backbone), DATA[data].patience)


def digest(params: Params) -> str:
    """A short name of a configuration."""
    return hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:10]
