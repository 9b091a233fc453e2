"""A third of the items lack a modality: what is reported, how it fares, and a remedy.

    python examples/missing_modality.py [--data DIR] [--lacking MODALITY]

Takes a modality away from a third of the items: their rows become NaN. Such an item takes no part
in that modality's distillation terms, and the recommender reads the mean of all rows in its place.
On the made-up catalog (what runs without --data) that costs these items dearly once they are
distilled, presumably since the mean looks like no class. The remedy tried here fills in the mean
of the item's own class, and says by ``missing=`` what was filled; it helps the items that lack the
modality, and not the others. A fifth of the labels is kept from the teacher, to ask it about them
afterwards.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from sgfd import SGFDLoss, distill
from sgfd.backbones import VBPR
from sgfd.data import Dataset, synthetic_catalog
from sgfd.evaluation import evaluate, table
from sgfd.plots import class_accuracy, plot_class_accuracy
from sgfd.training import fit


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, help="a folder as examples/train.py takes it")
    add("--modalities", nargs="+")
    add("--lacking", help="the modality to take away; the first by default")
    add("--weight", type=float, default=1.0, help="of both parts of the distillation loss")
    add("--epochs", type=int, default=60)
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/missing_modality"))
    return parser.parse_args()


def class_means(x: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """In place of rows of NaN the mean of those of the same label, or of all where unknown."""
    lacks, filled = np.isnan(x).all(axis=1), x.copy()
    filled[lacks] = x[~lacks].mean(axis=0)
    for label in np.unique(labels[labels >= 0]):
        others = x[(labels == label) & ~lacks]
        if len(others):
            filled[(labels == label) & lacks] = others.mean(axis=0)
    return filled


def main() -> None:
    """Take away, train four recommenders, compare, ask the teacher."""
    args = arguments()
    data = (
        Dataset.load(args.data, modalities=args.modalities, seed=args.seed)
        if args.data
        else synthetic_catalog(seed=args.seed)
    )
    if data.labels is None:
        sys.exit(f"{args.data} has no labels to distil.")
    modality = args.lacking or next(iter(data.features))
    rng = np.random.default_rng(args.seed)
    lacks = rng.random(data.num_items) < 1 / 3
    asked = rng.random(data.num_items) < 1 / 5
    taught = np.where(asked, -1, data.labels)

    holes = data.features[modality].copy()
    holes[lacks] = np.nan
    filled = class_means(holes, taught)
    catalogs = {
        "": replace(data, features=data.features | {modality: holes}),
        ", filled": replace(data, features=data.features | {modality: filled}),
    }
    print(catalogs[""].summary())
    models = {}
    for fill, catalog in catalogs.items():
        for arm in ("plain", "distilled"):
            model = VBPR(catalog.train, catalog.features, seed=args.seed)
            if arm == "distilled":
                model = distill(
                    model,
                    catalog.features,
                    taught,
                    missing={modality: lacks},  # where rows are NaN, it would know by itself
                    num_classes=data.num_classes,
                    loss=SGFDLoss(ce_weight=args.weight, kd_weight=args.weight),
                    seed=args.seed,
                )
                shares = {m: f"{mask.float().mean():.1%}" for m, mask in model.missing().items()}
                print(f"\n{arm}{fill}: shares of model.missing(): {shares}")
            settings = {"max_epochs": args.epochs, "batch_size": 1024}
            fit(model, catalog, learning_rate=3e-3, seed=args.seed, **settings)
            models[arm + fill] = model

    groups = {"all": lacks | ~lacks, f"lacking {modality}": lacks, f"having {modality}": ~lacks}
    for name, items in groups.items():
        target = data.test.multiply(items).tocsr()  # ranked among all items all the same
        target.eliminate_zeros()
        results = {a: evaluate(m.scorer(), target, seen=data.seen) for a, m in models.items()}
        print(f"\nTest items, {name} ({items.sum()}):")
        print(table(results, metrics=["recall@20", "ndcg@20"]))

    args.out.mkdir(parents=True, exist_ok=True)
    unseen = np.where(asked, data.labels, -1)
    found = class_accuracy(models["distilled"].teacher, catalogs[""].features, unseen)
    ax = plot_class_accuracy(found, label_names=data.label_names)
    ax.figure.savefig(args.out / "classes.png", dpi=130)
    print(f"\nWhat the teacher says of items whose labels it never saw: {args.out / 'classes.png'}")


if __name__ == "__main__":
    main()
