"""A plain recommender and its distilled twin, trained on the same made-up catalog.

    python examples/quickstart.py

Trains both, prints their test metrics side by side with a paired test over users, and draws what
distillation did to the features. No download, no GPU, under a minute. A gain on made-up data only
shows that the code works: with --label-signal 0 (random labels) it is gone, and much of it is that
the distilled recommender learns faster. Over four catalogs test NDCG@20 was .092 plain and .100
distilled as here, .1005 and .1016 after up to 300 epochs. See docs/results.md for real data.
"""

import argparse
from pathlib import Path

import torch

from sgfd import SGFDLoss, distill
from sgfd.backbones import VBPR
from sgfd.data import Dataset, synthetic_catalog
from sgfd.evaluation import Evaluation, compare, evaluate, table
from sgfd.plots import plot_curves, plot_feature_maps
from sgfd.training import FitResult, fit

SETTINGS = {"max_epochs": 60, "batch_size": 1024, "learning_rate": 3e-3, "patience": 10}


def train(model: torch.nn.Module, data: Dataset, seed: int) -> tuple[FitResult, Evaluation]:
    """Fit on train, keep the best validation epoch, rank the test part once."""
    run = fit(model, data, seed=seed, **SETTINGS)
    return run, evaluate(model.scorer(), data.test, seen=data.seen)


def main() -> None:
    """Train both, compare, draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--label-signal", type=float, default=1.0, help="0: labels are random")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"))
    args = parser.parse_args()

    data = synthetic_catalog(label_signal=args.label_signal, seed=args.seed)
    print(data.summary(), "\n")

    plain = VBPR(data.train, data.features, seed=args.seed)
    plain_run, plain_result = train(plain, data, args.seed)

    backbone = VBPR(data.train, data.features, seed=args.seed)  # the same start
    model = distill(
        backbone,
        data.features,
        data.labels,
        loss=SGFDLoss(ce_weight=1.0, kd_weight=1.0),  # strong: these features hide the labels well
        seed=args.seed,
    )
    distilled_run, distilled_result = train(model, data, args.seed)

    print("\nTest part, each model at its best validation epoch:")
    print(table({"plain": plain_result, "distilled": distilled_result}))
    print(compare(plain_result, distilled_result, "ndcg@20"))

    args.out.mkdir(parents=True, exist_ok=True)
    image = torch.from_numpy(data.features["image"])
    before = plain.projections["image"](image).detach()
    after = model.export()["image"]
    figure = plot_feature_maps(
        before,
        after,
        data.labels,
        label_names=data.label_names,
        titles=("image, plain", "image, distilled"),
    )
    figure.savefig(args.out / "features.png", dpi=130)
    curves = {
        "plain": [epoch.metrics["ndcg@20"] for epoch in plain_run.history],
        "distilled": [epoch.metrics["ndcg@20"] for epoch in distilled_run.history],
    }
    axes = plot_curves(curves, metric="validation ndcg@20")
    axes.figure.savefig(args.out / "curves.png", dpi=130)
    print(f"\nPictures: {args.out}/features.png, {args.out}/curves.png")


if __name__ == "__main__":
    main()
