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
# Of the two settings above, as multiples of their starts. On MovieLens-1M, whose users have twenty
# times the pairs, four trials of plain VBPR, not counted, were best where regularization was least.
STARTS = ((1.0, 1.0), (0.5, 2.0), (2.0, 0.5), (0.5, 0.5))
STARTS_OF = {"ml1m": ((2.0, 0.5), (2.0, 0.25), (2.0, 0.125), (4.0, 0.25))}

OURS = {
    "ce_weight": Setting(0.01, 1.0, 0.1),
    "kd_weight": Setting(1e-4, 0.1, 0.01),
    "temperature": Setting(1.0, 100.0, 10.0),
}
# Both students, and more or less of the teacher.
OURS_STARTS = (("linear", 0.01), ("paper", 0.01), ("paper", 0.001), ("linear", 0.001))
# Its terms have smaller gradients, so the ranges go further up; it starts at its BM3's of Office.
RELEASE = {
    "ce_weight": Setting(0.01, 10.0, 0.1),
    "kd_weight": Setting(1e-3, 10.0, 0.01),
    "temperature": Setting(1.0, 100.0, 50.0),
}
RELEASE_STARTS = (0.01, 0.1, 0.01, 1.0)


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


def start(number: int, data: str, backbone: str, space: object) -> Params:
    """What trial ``number`` is told to try; nothing where the sampler is free."""
    if number >= len(STARTS) or backbone == "none":
        return {}
    rate, regularization = STARTS_OF.get(data, STARTS)[number]
    told: Params = {
        "learning_rate": rate * RATE.start,
        "reg_weight": regularization * REGULARIZATION[backbone].start,
    }
    if space is ours:
        student, weight = OURS_STARTS[number]
        told |= {name: setting.start for name, setting in OURS.items()}
        told |= {"student": student, "kd_weight": weight}
    if space is release:
        told |= {name: setting.start for name, setting in RELEASE.items()}
        told |= {"kd_weight": RELEASE_STARTS[number], "ce_weight": 10 * RELEASE_STARTS[number]}
    return told


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
