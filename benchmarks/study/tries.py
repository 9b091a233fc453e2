"""What might help, tried on the validation part of the first seed; no arm of the study."""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from torch import nn

from sgfd import Distilled, FeatureStudent, behavior_features, distill, pretrain_teacher
from sgfd.data import Dataset
from sgfd.training import Schedule, decay, warm_up

from .grid import PRIMARY, Places, Run, batch_size, effort
from .inputs import behavior_labels, labels_shuffled
from .machine import Clock, surroundings
from .models import STUDENTS, UNIT_ROWS, WITHOUT, plain
from .space import OURS
from .store import Row, add_row, read_rows
from .train import catalog, fit_of, for_validation
from .tune import choice_of
from .why import gradients

CE, TEMPERATURE = OURS["ce_weight"].start, OURS["temperature"].start
RAMP = 15  # epochs of a schedule that ends


class Made(NamedTuple):
    """A distilled model about to be trained."""

    model: Distilled
    data: Dataset
    labels: Any
    run: Run
    steps: int  # of an epoch


Labels = Callable[[Dataset, Path], Any]
Weights = Callable[[Made], Schedule | None]


# Labels: what the teacher learns.
def category(data: Dataset, _: Path) -> Any:
    return data.labels


def shuffled(data: Dataset, _: Path) -> Any:
    return labels_shuffled(data, 0).labels


def from_file(data: Dataset, root: Path, name: str) -> Any:
    """More than the dataset has by default; FileNotFoundError where there is none."""
    return np.load(root / data.name / name, allow_pickle=False)


def levels(data: Dataset, root: Path) -> Any:
    return {"label": data.labels, "leaf": from_file(data, root, "MetaData_leaf.npy")}


def clusters(data: Dataset, _: Path, count: int) -> Any:
    return behavior_labels(data, 0, count).labels


def neighbors(data: Dataset, _: Path, count: int = 10, among: int = 200) -> Any:
    """Multi-hot, of the most consumed items: those that the same users consume most."""
    rows = np.nan_to_num(behavior_features(data.train, 32))
    anchors = np.argsort(-data.train.sum(axis=0), kind="stable")[:among]
    alike = rows @ rows[anchors].T
    near = np.argsort(-alike, axis=1, kind="stable")[:, :count]
    labels: npt.NDArray[np.float32] = np.zeros(alike.shape, dtype=np.float32)
    np.put_along_axis(labels, near, 1.0, axis=1)
    return labels


# Weights: how hard it is pulled, and when.
def constant(made: Made, kd: float) -> None:
    made.model.sgfd_loss.ce_weight, made.model.sgfd_loss.kd_weight = CE, kd


def fading(made: Made, kd: float) -> Schedule:
    return decay(CE, kd, steps=RAMP * made.steps)


def growing(made: Made, kd: float) -> Schedule:
    return warm_up(CE, kd, steps=RAMP * made.steps)


def thinned(made: Made, kd: float) -> None:
    """With half of the graph's edges dropped at every step."""
    constant(made, kd)
    made.model.backbone.dropout = 0.5


def left_out(made: Made, kd: float) -> None:
    """Without the edges of a step's own pairs, by which it could tell them."""
    constant(made, kd)
    made.model.backbone.target_edges = False


def two_stages(made: Made, kd: float) -> None:
    """The teacher learns its labels first, and then stays as it is."""
    features = made.data.features
    pretrain_teacher(made.model.teacher, features, made.labels, seed=made.run.seed)
    made.model.teacher.requires_grad_(False)
    made.model.sgfd_loss.ce_weight, made.model.sgfd_loss.kd_weight = 0.0, kd


def by_norm(made: Made, share: float) -> Schedule:
    """Each epoch the weight at which the pull is this share of the recommendation's gradient."""
    loss, now = made.model.sgfd_loss, {"kd": 0.0}

    def weights(step: int) -> tuple[float, float]:
        if step % made.steps == 0:
            loss.kd_weight = 1.0
            found = gradients(made.model, made.data, made.run, batches=2)
            made.model.train()
            now["kd"] = share * found["recommendation"] / found["distillation"]
        return CE, now["kd"]

    return weights


# What the recommender reads, and the arm whose configuration is taken.
LAYERS: dict[str, tuple[Callable[[nn.Linear], FeatureStudent], str]] = {
    **{name: (student, WITHOUT[name]) for name, student in STUDENTS.items()},
    "unit": (UNIT_ROWS, "unit-rows"),
}
TRIES: dict[str, tuple[Labels, Weights]] = {
    "no teacher": (category, partial(constant, kd=0.0)),
    "weight .01": (category, partial(constant, kd=0.01)),
    "shuffled labels": (shuffled, partial(constant, kd=0.01)),
    "leaf labels": (partial(from_file, name="MetaData_leaf.npy"), partial(constant, kd=0.01)),
    "all genres": (partial(from_file, name="GenreMultiHot.npy"), partial(constant, kd=0.01)),
    "category and leaf": (levels, partial(constant, kd=0.01)),
    "100 clusters of behavior": (partial(clusters, count=100), partial(constant, kd=0.01)),
    "neighbors by behavior": (neighbors, partial(constant, kd=0.01)),
    "from .1 to 0 in 15 epochs": (category, partial(fading, kd=0.1)),
    "from 0 to .01 in 15 epochs": (category, partial(growing, kd=0.01)),
    "two stages, .01": (category, partial(two_stages, kd=0.01)),
    "two stages, .1": (category, partial(two_stages, kd=0.1)),
    "a tenth of the gradient": (category, partial(by_norm, share=0.1)),
    "as large as the gradient": (category, partial(by_norm, share=1.0)),
}
OF_GRCN: dict[str, tuple[Labels, Weights]] = {
    "half of the edges, no teacher": (category, partial(thinned, kd=0.0)),
    "own pairs left out, no teacher": (category, partial(left_out, kd=0.0)),
    "own pairs left out, weight .01": (category, partial(left_out, kd=0.01)),
    "own pairs left out, shuffled labels": (shuffled, partial(left_out, kd=0.01)),
}


def try_all(
    data: str,
    backbone: str,
    places: Places,
    *,
    arms: Collection[str] | None = None,
    what: Collection[str] | None = None,
) -> Iterator[Row]:
    """Everything on each layer (of these arms) at what was chosen, that is not in tries.jsonl.

    Raises:
        ValueError: if there is no such try.
    """
    path = places.results / "tries.jsonl"
    if unknown := set(what or ()) - set(TRIES | OF_GRCN):
        raise ValueError(f"no such try: {sorted(unknown)}; there are {[*TRIES, *OF_GRCN]}.")
    tries = TRIES | (OF_GRCN if backbone == "grcn" else {})
    tries = {name: tries[name] for name in tries if what is None or name in what}
    for student, (_, arm) in LAYERS.items():
        run = Run(data, backbone, arm, effort(data, backbone).seeds[0])
        chosen = choice_of(run, places) if arms is None or arm in arms else None
        for name, (labels, weights) in tries.items() if chosen else ():
            row = {"data": data, "backbone": backbone, "seed": run.seed}
            row |= {"what": name, "student": student, "params": chosen.params}
            if any(row.items() <= done.items() for done in read_rows(path)):
                continue
            try:
                row |= one(run, chosen.params, student, labels, weights, places.root)
            except FileNotFoundError:
                continue  # this dataset has no such labels
            add_row(path, row, locks=places.scratch / "locks")
            yield row


def one(run: Run, params: Row, student: str, labels: Labels, weights: Weights, root: Path) -> Row:
    """Trains one."""
    clock = Clock()
    data = for_validation(catalog(run, root), run)
    taught = labels(data, root)
    model = distill(
        plain(data, run.backbone, params, run.seed),
        data.features,
        taught,
        student=LAYERS[student][0],
        seed=run.seed,
    )
    model.sgfd_loss.temperature = TEMPERATURE
    made = Made(model, data, taught, run, -(-data.train.nnz // batch_size(run.data, run.backbone)))
    result = fit_of(run, params)(model, data, schedule=weights(made))
    found = {PRIMARY: round(result.best_value, 6), "best_epoch": result.best_epoch}
    return found | clock.spent() | surroundings(model)
