"""Labels for a catalog that has none: how stable they are, and what they are worth.

    python examples/pseudo_labels.py [--data DIR]

Clusters of items stand in for categories: by content (the features), by behavior (who consumes the
item, in the training part) and by both. Stability says whether the clusters are there or are
arbitrary cuts through a cloud. What they are worth, only training says: beside a plain recommender,
beside the true labels where there are some, and beside the true ones shuffled, which say nothing.
Without --data, on a made-up catalog, whose taste follows its labels by construction.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.metrics import adjusted_rand_score

from sgfd import SGFDLoss, behavior_features, distill, pseudo_labels
from sgfd.backbones import VBPR
from sgfd.data import Dataset, synthetic_catalog
from sgfd.evaluation import compare, evaluate, table
from sgfd.plots import plot_comparison
from sgfd.training import fit


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, help="a folder as examples/train.py takes it, labels or not")
    add("--modalities", nargs="+")
    add("--clusters", type=int, nargs="+", default=[5, 10, 20], help="the second is trained with")
    add("--weight", type=float, default=1.0, help="of both parts of the distillation loss")
    add("--epochs", type=int, default=60)
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/pseudo_labels"))
    return parser.parse_args()


def main() -> None:
    """Cluster, compare the clusters with the labels, train with each."""
    args = arguments()
    data = (
        Dataset.load(args.data, modalities=args.modalities, seed=args.seed)
        if args.data
        else synthetic_catalog(seed=args.seed)
    )
    print(data.summary())
    behavior = {"behavior": behavior_features(data.train, 16)}
    sources = {"content": data.features, "behavior": behavior, "both": data.features | behavior}
    labels = {}
    print(f"\n{'clusters of':<12}{'k':>4}{'sizes':>12}{'stability':>12}{'like true':>12}")
    for name, features in sources.items():
        for k in args.clusters:
            made = pseudo_labels(features, k, seed=args.seed)
            like = "-"
            if data.labels is not None:
                known = (data.labels >= 0) & (made.labels.numpy() >= 0)
                like = f"{adjusted_rand_score(data.labels[known], made.labels[known]):.2f}"
            sizes = f"{made.sizes[-1]} to {made.sizes[0]}"
            print(f"{name:<12}{k:>4}{sizes:>12}{made.stability:>12.2f}{like:>12}")
            if k == args.clusters[min(1, len(args.clusters) - 1)]:
                labels[name] = made.labels.numpy()
    if data.labels is not None:
        print("like true: adjusted Rand index of clusters and labels; 1 the same, 0 as by chance")
        labels["true"] = data.labels
        labels["shuffled"] = np.random.default_rng(args.seed).permutation(data.labels)

    results = {}
    for name in ("plain", *labels):
        model = VBPR(data.train, data.features, seed=args.seed)
        if name != "plain":
            loss = SGFDLoss(ce_weight=args.weight, kd_weight=args.weight)
            model = distill(model, data.features, labels[name], loss=loss, seed=args.seed)
        settings = {"max_epochs": args.epochs, "batch_size": 1024}
        run = fit(model, data, learning_rate=3e-3, seed=args.seed, **settings)
        print(f"{name}: best epoch {run.best_epoch + 1}, validation ndcg@20 {run.best_value:.4f}")
        results[name] = evaluate(model.scorer(), data.test, seen=data.seen)

    print(f"\n{table(results, metrics=['recall@20', 'ndcg@20'])}")
    changes = {name: compare(results["plain"], results[name]) for name in labels}
    for name, change in changes.items():
        print(f"{name} against plain: {change}")
    args.out.mkdir(parents=True, exist_ok=True)
    plot_comparison(changes).figure.savefig(args.out / "changes.png", dpi=130)
    print(f"The same as a picture: {args.out / 'changes.png'}")


if __name__ == "__main__":
    main()
