"""Why a gain is there or not: what teacher and student know, which gradients move the student."""

from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score
from torch import Tensor

from sgfd import Distilled
from sgfd._seed import seeded
from sgfd.data import Dataset, PairSampler
from sgfd.plots import class_accuracy, neighbor_agreement

from .grid import Places, Run, batch_size
from .store import Row, add_row, read_rows, row_of
from .train import NEGATIVES, is_done, loaded
from .tune import tuned

BATCHES = 20


def why(run: Run, places: Places) -> Row | None:
    """Looks at a finished run and adds a row; None if it is there, or nothing was to teach."""
    params = tuned(run, places)
    path = places.results / "why.jsonl"
    if params is None or row_of(run, params, read_rows(path)) or not is_done(run, params, places):
        return None
    data, model = loaded(run, params, places)
    if not isinstance(model, Distilled) or model._labels.ndim > 1:
        return None
    row = run._asdict() | {"params": params} | look(model, data, run)
    add_row(path, row, locks=places.scratch / "locks")
    return row


def look(model: Distilled, data: Dataset, run: Run) -> Row:
    """What is known of the labels it was taught, and the gradients at its best epoch.

    The teacher and the student saw every label, so theirs is what was learned by heart; the linear
    classifier's is of items it did not see (5 folds).
    """
    labels = data.labels
    assert labels is not None  # there is a teacher
    teacher = class_accuracy(model.teacher, data.features, labels)
    row: Row = {
        "majority": float(np.bincount(labels[labels >= 0]).max() / (labels >= 0).sum()),
        "teacher": {m: float(n.sum() / teacher.counts[m].sum()) for m, n in teacher.right.items()},
        "linear": {},
        "student": {},
        "agreement": {},
        "gradients": gradients(model, data, run),
    }
    read = model.export()
    for m, features in data.features.items():
        # The items that have a label and the modality.
        rows = np.flatnonzero((labels >= 0) & ~np.isnan(features).any(axis=1))
        x, y = torch.from_numpy(np.asarray(features[rows], dtype=np.float32)), labels[rows]
        with torch.no_grad():
            said = model.teacher.classifiers[m](model.student(m).embed(x))
            taught = model.teacher._extract(m, x)
        row["student"][m] = float((said.argmax(1).numpy() == y).mean())
        row["linear"][m] = _linear(x.numpy(), y)
        near = {"raw": x, "teacher": taught, "student": read[m][rows]}
        row["agreement"][m] = {name: neighbor_agreement(z, y) for name, z in near.items()}
    return row


def gradients(model: Distilled, data: Dataset, run: Run, *, batches: int = BATCHES) -> Row:
    """Norms of the gradients on the students' weights, means over batches, weights included.

    ``cosine`` is between that of the recommendation loss and that of the two distillation terms:
    below 0 they pull apart.
    """
    loss = model.sgfd_loss
    sampler = PairSampler(
        data.train,
        batch_size=batch_size(run.data, run.backbone),
        num_negatives=NEGATIVES.get(run.backbone, 1),
        seed=run.seed,
    )
    students = [model.student(m).weight for m in data.features]
    found: dict[str, list[float]] = {n: [] for n in ("recommendation", "distillation", "cosine")}
    model.train()
    with seeded(run.seed):  # dropout
        for batch in islice(sampler.epoch(0), batches):
            total, terms = model.loss_and_terms(batch)
            kd = loss.kd_weight * (terms.response + terms.feature)
            own = _flat(total - terms.total, students)
            pulled = _flat(kd, students) if loss.kd_weight else torch.zeros_like(own)
            found["recommendation"].append(float(own.norm()))
            found["distillation"].append(float(pulled.norm()))
            found["cosine"].append(float(torch.cosine_similarity(own, pulled, dim=0)))
    model.eval()
    return {name: float(np.mean(values)) for name, values in found.items()}


def _flat(loss: Tensor, weights: list[Tensor]) -> Tensor:
    return torch.cat([g.flatten() for g in torch.autograd.grad(loss, weights, retain_graph=True)])


def _linear(x: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """5-fold accuracy of a ridge classifier."""
    # Folds are drawn per class, which needs five items of each; the few others go.
    enough = np.bincount(labels)[labels] >= 5
    scores = cross_val_score(RidgeClassifier(), x[enough], labels[enough], cv=5)
    return float(scores.mean())
