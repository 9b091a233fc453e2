"""The search space: what is tuned in each arm, and the points that every arm tries first."""

from typing import NamedTuple

from optuna.trial import Trial

from .grid import Params


class Setting(NamedTuple):
    """A positive number to be tuned, on a log scale."""

    low: float
    high: float
    start: float


# The same ranges and first points in every arm of a backbone.
RATE = Setting(6e-4, 1.5e-2, 3e-3)
REGULARIZATION = {
    "vbpr": Setting(2.5e-3, 0.16, 0.02),
    "bm3": Setting(0.0125, 0.8, 0.1),
    "grcn": Setting(1.25e-4, 8e-3, 1e-3),
    "maml": Setting(12.5, 800.0, 100.0),
}
# What the explorers, plain and the student alone, try first: multiples of the two starts above. On
# MovieLens-1M, whose users have twenty times the pairs, a pilot was best with less regularization.
STARTS = ((1.0, 1.0), (0.5, 2.0), (2.0, 0.5), (0.5, 0.5))
LESS = ((2.0, 0.5), (2.0, 0.25), (2.0, 0.125), (4.0, 0.25))
# BM3 there starts at popularity, rises by a tenth at most and falls below it; in pilots that was
# later with more regularization and at lower rates.
HEAVIER = ((0.2, 8.0), (1.0, 8.0), (0.5, 4.0), (2.0, 4.0))
# Where GRCN takes four times as many pairs a step: twice the rate.
FASTER = tuple((2 * a, b) for a, b in STARTS)
# Where explorers have two trials: near what was good on Office, at higher rates where a step has
# more pairs.
STARTS_OF = {
    ("ml1m", "vbpr"): LESS,
    ("ml1m", "bm3"): HEAVIER,
    ("toys", "grcn"): FASTER,
    ("tiktok", "grcn"): FASTER,
    ("ml1m", "grcn"): ((2.0, 0.5), (4.0, 0.5)),
    ("ml1m", "maml"): ((2.0, 1.0), (1.0, 0.5)),
    ("toys", "maml"): ((1.0, 1.0), (0.5, 0.5)),
}

OURS = {
    "ce_weight": Setting(0.01, 1.0, 0.1),
    "kd_weight": Setting(1e-4, 0.1, 0.01),
    "temperature": Setting(1.0, 100.0, 10.0),
}
# What ours tries first; of the arm "taught" too.
TAUGHT = {name: setting.start for name, setting in OURS.items()}
# Its terms have smaller gradients, so the ranges go further up; its BM3's of Office come first.
RELEASE = {
    "ce_weight": Setting(0.01, 10.0, 0.1),
    "kd_weight": Setting(1e-3, 10.0, 0.01),
    "temperature": Setting(1.0, 100.0, 50.0),
}


def _suggest(trial: Trial, settings: dict[str, Setting]) -> Params:
    return {
        name: trial.suggest_float(name, setting.low, setting.high, log=True)
        for name, setting in settings.items()
    }


def shared(trial: Trial, backbone: str) -> Params:
    """What a plain backbone has to be tuned in."""
    return _suggest(trial, {"learning_rate": RATE, "reg_weight": REGULARIZATION[backbone]})


def ours(trial: Trial, backbone: str) -> Params:
    student = trial.suggest_categorical("student", ["linear", "paper"])
    return shared(trial, backbone) | _suggest(trial, OURS) | {"student": student}


def release(trial: Trial, backbone: str) -> Params:
    return shared(trial, backbone) | _suggest(trial, RELEASE)


class Base(NamedTuple):
    """What an explorer chose, and its validation NDCG@20."""

    params: Params
    value: float


def first_points(data: str, backbone: str) -> list[Params]:
    """Of an explorer."""
    rate, regularization = RATE.start, REGULARIZATION[backbone].start
    return [
        {"learning_rate": a * rate, "reg_weight": b * regularization}
        for a, b in STARTS_OF.get((data, backbone), STARTS)
    ]


def next_points(backbone: str, space: object, plain: Base, alone: Base) -> list[Params]:
    """Of every other arm: around what the explorer most like it chose, whatever its own training.

    A distilled arm starts at both, ours with either's student, and goes on from the better one:
    ours with a tenth and ten times of the teacher, the release, whose terms are weaker, with ten
    and a hundred times. So where teaching does nothing it is about as good as the better one.
    """
    if space is shared:
        low, high, _ = REGULARIZATION[backbone]
        factors = (1.0, 2.0, 0.5)
        return [
            plain.params | {"reg_weight": min(high, max(low, f * plain.params["reg_weight"]))}
            for f in factors
        ]
    settings, last = (OURS, (0.001, 0.1)) if space is ours else (RELEASE, (0.1, 1.0))
    start = {name: setting.start for name, setting in settings.items()}
    linear, paper = start | plain.params, start | alone.params
    if space is ours:
        linear, paper = linear | {"student": "linear"}, paper | {"student": "paper"}
    better, other = (linear, paper) if plain.value >= alone.value else (paper, linear)
    points = []
    for base, weight in ((better, 0.01), (other, 0.01), (better, last[0]), (better, last[1])):
        weights = {"kd_weight": weight} if space is ours else weights_of_release(weight)
        points.append(base | weights)
    return points


def weights_of_release(kd_weight: float) -> Params:
    """With the label loss ten times as heavy, as in the release."""
    return {"ce_weight": 10 * kd_weight, "kd_weight": kd_weight}


# The yardsticks.
def nothing(_: Trial, __: str) -> Params:
    return {}


def knn(trial: Trial, _: str) -> Params:
    neighbors = trial.suggest_int("num_neighbors", 20, 500, log=True)
    return {"num_neighbors": neighbors, "shrink": trial.suggest_float("shrink", 1, 1e3, log=True)}


def ease(trial: Trial, _: str) -> Params:
    return {"l2": trial.suggest_float("l2", 10, 1e4, log=True)}


def factors(trial: Trial, _: str) -> Params:
    return _suggest(trial, {"learning_rate": RATE, "reg_weight": Setting(1e-4, 1.0, 0.02)})


def light_gcn(trial: Trial, backbone: str) -> Params:
    return factors(trial, backbone) | {"num_layers": trial.suggest_int("num_layers", 1, 3)}
