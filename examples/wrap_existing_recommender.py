"""A recommender and a trainer that know nothing of sgfd, distilled without a change to either.

    python examples/wrap_existing_recommender.py [--data DIR]

``Shelf`` and ``Trainer`` stand for code that you have and would rather not edit: batches are
dicts, the loss is a method, the trainer keeps a checkpoint. ``distill`` finds the layers that read
features and adds its loss to theirs. What was trained goes back into the class it came from, which
then serves without sgfd. Without --data, on a made-up catalog: a gain there shows that the code
works, and nothing more.
"""

import argparse
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from sgfd import SGFDLoss, distill
from sgfd.data import Dataset, PairSampler, synthetic_catalog
from sgfd.evaluation import compare, evaluate, table
from sgfd.plots import plot_comparison

# What you have: a recommender and its trainer.


class Shelf(nn.Module):
    """Scores an item by what is known of it and by what its features say."""

    def __init__(self, num_users: int, features: dict[str, torch.Tensor], dim: int = 32) -> None:
        super().__init__()
        self.raw = features
        self.user = nn.Embedding(num_users, dim)
        self.item = nn.Embedding(len(next(iter(features.values()))), dim)
        self.reads = nn.ModuleDict({m: nn.Linear(x.shape[1], dim) for m, x in features.items()})
        for layer in (self.user, self.item, *self.reads.values()):
            nn.init.xavier_uniform_(layer.weight)

    def items(self) -> torch.Tensor:
        """Vectors of all items."""
        return self.item.weight + sum(read(self.raw[m]) for m, read in self.reads.items())

    def calculate_loss(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Bayesian personalized ranking, and L2."""
        vectors, u = self.items(), self.user(batch["user"])
        i, j = vectors[batch["bought"]], vectors[batch["other"]]
        norms = (2 * u.square() + i.square() + j.square()).sum(1)
        return F.softplus((u * (j - i)).sum(1)).mean() + 0.01 * norms.mean()

    @torch.no_grad()
    def predict(self, users: torch.Tensor) -> torch.Tensor:
        """Scores of all items."""
        return self.user(users) @ self.items().T


class Trainer:
    """Trains whatever has ``calculate_loss`` and ``predict``."""

    def __init__(self, model: nn.Module, data: Dataset, checkpoint: Path) -> None:
        self.model, self.data, self.checkpoint = model, data, checkpoint
        self.optimizer = torch.optim.Adam(model.parameters(), lr=5e-3)

    def run(self, epochs: int, seed: int) -> None:
        """Leaves the model, and the checkpoint, at the best epoch."""
        sampler, best = PairSampler(self.data.train, batch_size=1024, seed=seed), -1.0
        for epoch in range(epochs):
            for users, bought, others in sampler.epoch(epoch):
                batch = {"user": users, "bought": bought, "other": others[:, 0]}
                self.optimizer.zero_grad()
                self.model.calculate_loss(batch).backward()
                self.optimizer.step()
            found = evaluate(self.model.predict, self.data.valid, seen=self.data.train).means()
            if found["ndcg@20"] > best:
                best = found["ndcg@20"]
                torch.save(self.model.state_dict(), self.checkpoint)
        self.model.load_state_dict(torch.load(self.checkpoint, weights_only=True))
        print(f"{self.checkpoint.stem}: validation ndcg@20 {best:.4f}")


# What you add.


def batch_items(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """The items that a batch names."""
    return torch.cat([batch["bought"], batch["other"]])


def main() -> None:
    """The same trainer twice, then back to the class without sgfd."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder as examples/train.py takes it")
    parser.add_argument("--modalities", nargs="+")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/wrap_existing_recommender"))
    args = parser.parse_args()
    data = (
        Dataset.load(args.data, modalities=args.modalities, seed=args.seed)
        if args.data
        else synthetic_catalog(seed=args.seed)
    )
    if data.labels is None:
        sys.exit(f"{args.data} has no labels to distil.")
    features = {m: torch.from_numpy(x) for m, x in data.features.items()}
    args.out.mkdir(parents=True, exist_ok=True)

    torch.manual_seed(args.seed)
    plain = Shelf(data.num_users, features)
    torch.manual_seed(args.seed)  # the same start
    model = distill(
        Shelf(data.num_users, features),
        features,
        data.labels,
        loss_method="calculate_loss",
        items=batch_items,
        loss=SGFDLoss(ce_weight=1.0, kd_weight=1.0),  # strong: these features hide the labels well
    )
    print(f"students: {model.student_paths}")
    Trainer(plain, data, args.out / "plain.pt").run(args.epochs, args.seed)
    Trainer(model, data, args.out / "distilled.pt").run(args.epochs, args.seed)

    served = Shelf(data.num_users, features)
    served.load_state_dict(model.unwrap().state_dict())
    models = {"plain": plain, "distilled": served}
    results = {a: evaluate(m.predict, data.test, seen=data.seen) for a, m in models.items()}
    metrics = ["recall@10", "ndcg@10", "recall@20", "ndcg@20"]
    print(table(results, metrics=metrics))
    changes = {name: compare(*results.values(), name) for name in metrics}
    plot_comparison(changes).figure.savefig(args.out / "changes.png", dpi=130)
    print(f"{changes['ndcg@20']}\nThe same as a picture: {args.out / 'changes.png'}")


if __name__ == "__main__":
    main()
