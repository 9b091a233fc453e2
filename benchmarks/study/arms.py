"""The arms: the methods compared, and the controls that say what a gain is due to."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from optuna.trial import Trial
from torch import nn

from sgfd import FeatureStudent, release
from sgfd.data import Dataset

from . import baselines, inputs, models, space
from .grid import EXPLORERS, Params


class Arm(NamedTuple):
    """One way of training.

    Attributes:
        what: for tables.
        build: (data, backbone, params, seed) -> the recommender, or what scores without training.
        space: what is tuned.
        change: what is done to the catalog before.
        tuned_as: the arm whose chosen configuration it takes, since it switches one thing of that
            arm; None for an arm that is tuned by itself, by as many trials as any other.
    """

    what: str
    build: Callable[[Dataset, str, Params, int], Any]
    space: Callable[[Trial, str], Params] = space.shared
    change: Callable[[Dataset, int], Dataset] = inputs.same
    tuned_as: str | None = None


def _ours(what: str, change: Callable[[Dataset, int], Dataset] = inputs.same) -> Arm:
    return Arm(what, models.ours, space.ours, change)


def _ours_but(what: str, **switched: Any) -> Arm:
    return Arm(what, partial(models.ours, **switched), space.ours, tuned_as="ours")


def _alone_but(what: str, student: Callable[[nn.Linear], FeatureStudent]) -> Arm:
    return Arm(what, partial(models.alone, student=student), tuned_as="alone")


def _default(kd_weight: float) -> Arm:
    build = partial(models.default, kd_weight=kd_weight)
    return Arm(f"distill() as it comes, weight {kd_weight}", build, tuned_as="plain")


ARMS = {
    "plain": Arm("the backbone", models.plain),
    "release": Arm("distilled, the release's mathematics", models.released, space.release),
    "ours": _ours("distilled, ours"),
    "alone": Arm("the paper's student without teacher", models.alone),
    "unit-rows": _alone_but("the student alone, no LeakyReLU", models.UNIT_ROWS),
    "leaky-relu": _alone_but("the student alone, no unit rows", models.LEAKY_RELU),
    "release-kd-0": Arm(
        "the release's student without teacher",
        partial(models.released, taught=False),
        space.release,
        tuned_as="release",
    ),
    "release-shuffled": Arm(
        "the release's mathematics, labels shuffled",
        models.released,
        space.release,
        inputs.labels_shuffled,
        tuned_as="release",
    ),
    "labels-shuffled": _ours("ours, labels shuffled", inputs.labels_shuffled),
    "ours-behavior": _ours("ours, labels from behavior", inputs.behavior_labels),
    "ours-both": Arm(
        "ours, labels and behavior", partial(models.ours, behavior_beside=True), space.ours
    ),
    "plain-label": Arm("plain, label as a modality", models.plain, change=inputs.label_as_modality),
    "plain-label-shuffled": Arm(
        "plain, shuffled label as a modality",
        models.plain,
        change=inputs.shuffled_label_as_modality,
        tuned_as="plain-label",
    ),
    "alone-label": Arm(
        "the student alone, label as a modality",
        models.alone,
        change=inputs.label_as_modality,
        tuned_as="alone",
    ),
    "plain-behavior": Arm(
        "plain, behavior cluster as a modality", models.plain, change=inputs.behavior_as_modality
    ),
    "plain-standardized": Arm(
        "plain, standardized features", models.plain, change=inputs.standardized
    ),
    "plain-unit": Arm("plain, features of length 1", models.plain, change=inputs.unit_rows),
    "features-shuffled": _ours("ours, features shuffled", inputs.features_shuffled),
    "plain-features-shuffled": Arm(
        "plain, features shuffled", models.plain, change=inputs.features_shuffled
    ),
    "ce-0": _ours_but("ours, teacher without labels", ce=False),
    "kd-0": _ours_but("ours, student without teacher", kd=False),
    "inner-off": _ours_but("ours, no inner activation", inner_activation=None),
    "l1": _ours_but("ours, L1 for KL", response=release.mean_absolute_difference),
    "teacher-gradient": _ours_but("ours, gradient into the teacher", detach_teacher=False),
    "fusion-off": _ours_but("ours, no fusion", fusion=False),
    "taught": Arm("the student, taught at the first weight", models.taught, tuned_as="alone"),
    "taught-shuffled": Arm(
        "the same, labels shuffled", models.taught, change=inputs.labels_shuffled, tuned_as="alone"
    ),
    "distill-.01": _default(0.01),
    "distill-.001": _default(0.001),
}
OF_BM3 = {
    f"{arm}-cl-.2": Arm(
        f"{ARMS[arm].what}, features a tenth in BM3's loss",
        partial(models.with_cl_weight, build=ARMS[arm].build, cl_weight=0.2),
        tuned_as=arm,
    )
    for arm in EXPLORERS
}
YARDSTICKS = {
    "popularity": Arm("popularity", baselines.popularity, space.nothing),
    "content": Arm("nearest to what a user has", baselines.content, space.nothing),
    "item-knn": Arm("ItemKNN", baselines.item_knn, space.knn),
    "ease": Arm("EASE", baselines.ease, space.ease),
    "bpr-mf": Arm("BPR-MF", baselines.bpr_mf, space.factors),
    "lightgcn": Arm("LightGCN", baselines.light_gcn, space.light_gcn),
}


def arms_of(backbone: str) -> dict[str, Arm]:
    """By name, in the order in which they are run."""
    if backbone == "none":
        return YARDSTICKS
    return ARMS | OF_BM3 if backbone == "bm3" else ARMS
