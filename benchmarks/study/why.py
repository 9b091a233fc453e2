"""Why a gain is there or not: what teacher and student know, which gradients move the student."""

from itertools import islice

import numpy as np
import numpy.typing as npt
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import cross_val_score
from torch import Tensor

from sgfd import Distilled
from sgfd.data import Dataset, PairSampler
from sgfd.plots import class_accuracy, neighbor_agreement

from .arms import arms_of
from .grid import DATA, Places, Run
from .store import Row, add_row, read_rows, row_of
from .train import NEGATIVES, best_of, catalog
from .tune import tuned

BATCHES = 10


def why(run: Run, places: Places) -> Row | None:
    """Looks at a finished distilled run and adds a row; None if it is there, or cannot be."""
    params = tuned(run, places)
    path = places.results / "why.jsonl"
    if params is None or row_of(run, params, read_rows(path)):
        return None
    best = best_of(run, params, places)
    if not best.exists():
        return None
    data = catalog(run, places.root)
    model = arms_of(run.backbone)[run.arm].build(data, run.backbone, params, run.seed)
    if not isinstance(model, Distilled) or model._labels.ndim > 1:
        return None
    model.load_state_dict(torch.load(best, weights_only=True, map_location="cpu"))
    row = run._asdict() | {"params": params} | look(model, data, run)
    add_row(path, row, locks=places.scratch / "locks")
    return row


def look(model: Distilled, data: Dataset, run: Run) -> Row:
    """What is known of the labels it was taught, and the gradients at its best epoch.

    The teacher and the student saw every label, so theirs is what was learned by heart; the linear
    classifier's is of items it did not see (5 folds).
    """
    labels = data.labels
    assert labels is not None  # a distilled arm
    known = labels >= 0
    truth = torch.from_numpy(labels[known])
    teacher = class_accuracy(model.teacher, data.features, labels)
    features = {m: torch.from_numpy(_filled(x)) for m, x in data.features.items()}
    with torch.no_grad():
        learned = model.teacher.judge({m: model.student(m).embed(x) for m, x in features.items()})
        taught = model.teacher(features)
    student = {m: _share(z[known].argmax(1) == truth) for m, z in learned.logits.items()}
    read = model.export()
    return {
        "majority": float(np.bincount(labels[known]).max() / known.sum()),
        "linear": {m: _linear(x[known].numpy(), labels[known]) for m, x in features.items()},
        "teacher": {m: float(n.sum() / teacher.counts[m].sum()) for m, n in teacher.right.items()},
        "student": student,
        "agreement": {
            m: {
                "raw": neighbor_agreement(x, labels),
                "teacher": neighbor_agreement(taught.embeddings[m], labels),
                "student": neighbor_agreement(read[m], labels),
            }
            for m, x in features.items()
        },
        "gradients": gradients(model, data, run),
    }


def gradients(model: Distilled, data: Dataset, run: Run) -> Row:
    """Norms of the gradients on the students' weights, means over batches, weights included.

    ``cosine`` is between that of the recommendation loss and that of the two distillation terms:
    below 0 they pull apart.
    """
    source, loss = DATA[run.data], model.sgfd_loss
    sampler = PairSampler(
        data.train,
        batch_size=source.batch_size,
        num_negatives=NEGATIVES.get(run.backbone, 1),
        seed=run.seed,
    )
    students = [model.student(m).weight for m in data.features]
    found: dict[str, list[float]] = {n: [] for n in ("recommendation", "distillation", "cosine")}
    model.train()
    for batch in islice(sampler.epoch(0), BATCHES):
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


def _filled(x: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Missing rows as the mean of the others, as the recommender reads them."""
    x = np.asarray(x, dtype=np.float32)
    return np.where(np.isnan(x), np.nanmean(x, axis=0), x)


def _share(right: Tensor) -> float:
    return float(right.float().mean())
