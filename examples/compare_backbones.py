"""Four backbones, plain and distilled, beside the yardsticks that any recommender must beat.

    python examples/compare_backbones.py [--data DIR] [--backbones vbpr bm3 grcn maml]

Trains VBPR, BM3, GRCN and MAML twice each from the same start, and ranks the test part once per
model, beside popularity and ItemKNN. The picture has the change by distillation with its interval
over users. One seed, and the same learning rate for all: enough to see that everything runs, not to
rank the backbones. Without --data, on a made-up catalog, where a gain shows nothing more than that
either. examples/train.py has the options of a real run.
"""

import argparse
import sys
import time
from pathlib import Path

from sgfd import SGFDLoss, distill
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Recommender
from sgfd.data import Dataset, synthetic_catalog
from sgfd.evaluation import compare, evaluate, item_knn, popularity
from sgfd.plots import plot_comparison
from sgfd.training import fit

# Each with how many negatives it reads per pair.
BACKBONES: dict[str, tuple[type[Recommender], int]] = {
    "vbpr": (VBPR, 1),
    "bm3": (BM3, 0),
    "grcn": (GRCN, 1),
    "maml": (MAML, 4),
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, help="a folder as examples/train.py takes it")
    add("--modalities", nargs="+")
    add("--backbones", nargs="+", choices=BACKBONES, default=list(BACKBONES))
    add("--weight", type=float, default=1.0, help="of both parts of the distillation loss")
    add("--dim", type=int, default=32)
    add("--epochs", type=int, default=80)
    add("--patience", type=int, default=8)
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/compare_backbones"))
    return parser.parse_args()


def main() -> None:
    """Train every arm, print the table, draw the changes."""
    args = arguments()
    data = (
        Dataset.load(args.data, modalities=args.modalities, seed=args.seed)
        if args.data
        else synthetic_catalog(seed=args.seed)
    )
    if data.labels is None:
        sys.exit(f"{args.data} has no labels to distil.")
    print(data.summary())
    results = {
        "popularity": evaluate(popularity(data.train), data.test, seen=data.seen),
        "ItemKNN": evaluate(item_knn(data.train), data.test, seen=data.seen),
    }
    changes = {}
    for name in args.backbones:
        kind, num_negatives = BACKBONES[name]
        for arm in (name, f"{name} + sgfd"):
            model = kind(data.train, data.features, dim=args.dim, seed=args.seed)
            if arm != name:
                loss = SGFDLoss(ce_weight=args.weight, kd_weight=args.weight)
                model = distill(
                    model,
                    data.features,
                    data.labels,
                    num_classes=data.num_classes,
                    loss=loss,
                    seed=args.seed,
                )
            start = time.perf_counter()
            run = fit(
                model,
                data,
                max_epochs=args.epochs,
                patience=args.patience,
                batch_size=1024,
                learning_rate=5e-3,
                num_negatives=num_negatives,
                seed=args.seed,
                progress=False,
            )
            seconds = time.perf_counter() - start
            results[arm] = evaluate(model.scorer(), data.test, seen=data.seen)
            print(
                f"{arm}: best of {len(run.history)} epochs {run.best_epoch + 1}, validation "
                f"ndcg@20 {run.best_value:.4f}, {seconds:.0f} s",
                flush=True,
            )
        changes[name] = compare(results[name], results[arm])

    print("\nTest part, each model at its best validation epoch:")
    print(f"{'':<12}{'recall@20':>11}{'ndcg@20':>11}")
    for name, result in results.items():
        means = result.means()
        print(f"{name:<12}{means['recall@20']:>11.4f}{means['ndcg@20']:>11.4f}")
    for name, change in changes.items():
        print(f"{name}, distilled against plain: {change}")
    args.out.mkdir(parents=True, exist_ok=True)
    plot_comparison(changes).figure.savefig(args.out / "changes.png", dpi=130)
    print(f"The same as a picture: {args.out / 'changes.png'}")


if __name__ == "__main__":
    main()
