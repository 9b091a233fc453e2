"""A training loop of your own, from the parts: teacher, students, loss.

    python examples/own_loop.py [--data DIR]

A small recommender in plain PyTorch reads its features through students. The loop trains it with
the teacher, validates after every epoch, stops early and keeps the best epoch. It runs twice, with
the distillation loss and with both weights of that loss at 0, the control. Without --data, on a
made-up catalog: a gain there shows that the code works, and nothing more.
"""

import argparse
import sys
from copy import deepcopy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from sgfd import FeatureStudent, SemanticTeacher, SGFDLoss
from sgfd.data import Dataset, PairSampler, synthetic_catalog
from sgfd.evaluation import compare, evaluate, table
from sgfd.plots import plot_terms

DIM = 32


class Recommender(nn.Module):
    """Users and items as vectors; part of an item's is learned, the rest read from its features."""

    def __init__(self, data: Dataset) -> None:
        super().__init__()
        self.x = {m: torch.from_numpy(features) for m, features in data.features.items()}
        self.users = nn.Embedding(data.num_users, (1 + len(self.x)) * DIM)
        self.items = nn.Embedding(data.num_items, DIM)
        self.students = nn.ModuleDict({m: FeatureStudent(w, DIM) for m, w in data.widths.items()})
        for layer in (self.users, self.items, *self.students.values()):
            nn.init.xavier_uniform_(layer.weight)

    def item_vectors(self) -> torch.Tensor:
        """Of all items, (num_items, (1 + modalities) * DIM)."""
        read = [student(self.x[m]) for m, student in self.students.items()]
        return torch.cat([self.items.weight, *read], dim=1)

    def scores(self, users: torch.Tensor) -> torch.Tensor:
        """Of all items for some users, (B, num_items)."""
        return self.users(users) @ self.item_vectors().T


def train(data: Dataset, loss: SGFDLoss, args: argparse.Namespace) -> tuple[Recommender, list]:
    """The recommender at its best epoch, and the mean terms of every epoch."""
    torch.manual_seed(args.seed)
    model, teacher = Recommender(data), SemanticTeacher(data.widths, DIM, data.num_classes)
    optimizer = torch.optim.Adam([*model.parameters(), *teacher.parameters()], lr=5e-3)
    sampler = PairSampler(data.train, batch_size=1024, seed=args.seed)
    labels = torch.from_numpy(data.labels)  # -1 where unknown
    history, best, best_epoch, best_state = [], -1.0, 0, {}
    for epoch in range(args.epochs):
        sums = {}
        for users, positives, negatives in sampler.epoch(epoch):
            u, vectors = model.users(users), model.item_vectors()
            i, j = vectors[positives], vectors[negatives[:, 0]]
            own = F.softplus((u * (j - i)).sum(1)).mean()
            own = own + 0.01 * (2 * u.square() + i.square() + j.square()).sum(1).mean()

            # The distillation loss of the batch's items, each once, with how often it is there.
            items, counts = torch.cat([positives, negatives[:, 0]]).unique(return_counts=True)
            x = {m: features[items] for m, features in model.x.items()}
            learned = teacher.judge({m: s.embed(x[m]) for m, s in model.students.items()})
            terms = loss.terms(teacher(x), learned, labels[items], counts)

            total = own + terms.total
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
            for name, value in (terms._asdict() | {"total": total, "recommendation": own}).items():
                sums[name] = sums.get(name, 0.0) + value.item()
        history.append({name: value / sampler.num_batches for name, value in sums.items()})

        ndcg = evaluate(model.scores, data.valid, seen=data.train).means()["ndcg@20"]
        if ndcg > best:
            best, best_epoch, best_state = ndcg, epoch, deepcopy(model.state_dict())
        elif epoch - best_epoch >= args.patience:
            break
    print(f"epoch {best_epoch + 1} of {len(history)} is best, validation ndcg@20 {best:.4f}")
    model.load_state_dict(best_state)
    return model, history


def main() -> None:
    """Train both arms, print the table, draw the terms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder as examples/train.py takes it")
    parser.add_argument("--modalities", nargs="+")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--patience", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/own_loop"))
    args = parser.parse_args()

    data = (
        Dataset.load(args.data, modalities=args.modalities, seed=args.seed)
        if args.data
        else synthetic_catalog(seed=args.seed)
    )
    print(data.summary())
    if data.labels is None:
        sys.exit(f"{args.data} has no labels to distil.")
    results = {}
    for arm, weight in {"control": 0.0, "distilled": 1.0}.items():
        model, history = train(data, SGFDLoss(ce_weight=weight, kd_weight=weight), args)
        results[arm] = evaluate(model.scores, data.test, seen=data.seen)
    print(table(results, metrics=["recall@20", "ndcg@20"]))
    print(compare(results["control"], results["distilled"], "ndcg@20"))

    args.out.mkdir(parents=True, exist_ok=True)
    plot_terms(history).figure.savefig(args.out / "terms.png", dpi=130)
    print(f"The terms of the distilled run: {args.out / 'terms.png'}")


if __name__ == "__main__":
    main()
