"""Train one of the paper's nine settings, plain and distilled, beside what the paper reports.

    python examples/reproduce.py --dataset Office|Clothing|ToysGames --backbone bm3|grcn|maml
        [--release] [--data DIR]

DIR has a folder per dataset with the authors' files: train.csv, test.csv, FeatureImage_normal.npy,
FeatureText_normal.npy, MetaData_normal.npy. Weights, rates and sizes are those of their release
(sgfd.release.recipe, which also says what that leaves open). The mathematics is ours or, with
--release, theirs (but for MAML's own loss, which stays ours):

- all: linear teacher chain, softmax of softmax, L1, distillation's gradient into the teacher
- bm3: the plain model trains its raw features, as its authors' does
- grcn: routing moves no user; the plain model prunes edges, the distilled one does not
- maml: only the two embedding tables train, and no distillation term reaches them; what the
  distilled model gains on the plain one is its student's LeakyReLU
"""

import argparse
import json
import sys
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

from sgfd import SGFDLoss, backbones, distill, release
from sgfd.data import Dataset
from sgfd.evaluation import compare, evaluate
from sgfd.training import fit

METRICS = {
    "bm3": "recall over all users together; NDCG over the hits retrieved, one rank off",
    "grcn": "mean recall; NDCG over the hits retrieved; seen items score 1e-5",
    "maml": "mean recall; NDCG over the hits retrieved",
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--dataset", choices=["Office", "Clothing", "ToysGames"], required=True)
    add("--backbone", choices=["bm3", "grcn", "maml"], required=True)
    add("--release", action="store_true", help="their mathematics in place of ours")
    add("--data", type=Path, default=Path("Data"), help="the folder that holds Office, ...")
    add("--modalities", nargs="+", help="other features than Image and Text")
    add("--epochs", type=int, default=1000, help="at most, as the release's BM3 has it")
    add("--patience", type=int, default=40, help="epochs without gain, likewise")
    add("--seed", type=int, default=0, help="of the split, the parameters and the batches")
    add("--out", type=Path, default=Path("runs/reproduce"), help="gets a folder per setting")
    add("--resume", action="store_true")
    return parser.parse_args()


def load(args: argparse.Namespace) -> Dataset:
    """The dataset; says what is missing, or is not the paper's."""
    catalog, folder = release.catalog(args.dataset), args.data / args.dataset
    # In the release's order of fusion.
    theirs = ["Text", "Image"] if args.backbone == "bm3" else ["Image", "Text"]
    modalities = args.modalities or theirs
    files = catalog.files(modalities)
    if missing := [name for name in files if not (folder / name).is_file()]:
        sys.exit(
            f"{folder.resolve()} must have the authors' files; put there what is missing:\n"
            + "".join(f"  {name}: {files[name]}\n" for name in missing)
            + "Their page says where to get them: https://github.com/HuilinChenJN/SGFD"
        )
    data = Dataset.load(folder, modalities=modalities, seed=args.seed)
    print(data.summary())
    for difference in catalog.differences(data):
        print(f"NOT COMPARABLE with the paper, {difference}")
    return data


def build(args: argparse.Namespace, data: Dataset, *, distilled: bool) -> torch.nn.Module:
    """The recommender of one arm; both start from the same parameters."""
    recipe, options = release.recipe(args.backbone, args.dataset), {}
    if args.release and args.backbone == "bm3":
        options = {"train_features": not distilled}
    elif args.release and args.backbone == "grcn":
        options = {"num_routings": 0, "prune": not distilled}
    options = {"dim": recipe.dim, "seed": args.seed, **recipe.options, **options}
    model = getattr(backbones, args.backbone.upper())(data.train, data.features, **options)
    if distilled:
        parts = {"loss": SGFDLoss(**recipe.weights._asdict())}
        if args.release:
            activations = {"bm3": F.leaky_relu, "maml": partial(F.leaky_relu, negative_slope=0.2)}
            parts = release.settings(
                data.widths,
                data.num_classes,
                out_features=recipe.dim,
                weights=recipe.weights,
                activation=activations.get(args.backbone),
                normalize=args.backbone != "maml",
                ratio=2 if args.backbone == "maml" else 4,
                seed=args.seed,
            )._asdict()
        given = (data.features, data.labels)
        model = distill(model, *given, num_classes=data.num_classes, seed=args.seed, **parts)
    if args.release and args.backbone == "maml":
        own = model.backbone if distilled else model
        with torch.no_grad():  # items start at their features, by the student that reads them now
            own.item_embedding.weight.copy_(own.item_features(torch.arange(own.num_items)))
        tables = ("user_embedding.weight", "item_embedding.weight")
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.endswith(tables))
    return model


def main() -> None:
    """Train both arms and print the table."""
    args = arguments()
    data, recipe = load(args), release.recipe(args.backbone, args.dataset)
    mathematics = "their" if args.release else "our"
    print(f"With {mathematics} mathematics, {recipe.weights}, {recipe.options}")
    out = args.out / f"{args.dataset}_{args.backbone}{'_release' * args.release}"
    results = {}
    cells = {"published": [recipe.plain, recipe.distilled], "measured": [], "standard": []}
    for arm in ("plain", "distilled"):
        model = build(args, data, distilled=arm == "distilled")
        run = fit(
            model,
            data,
            max_epochs=args.epochs,
            patience=args.patience,
            batch_size=recipe.batch_size,
            learning_rate=recipe.learning_rate,
            num_negatives=recipe.num_negatives,
            seed=args.seed,
            directory=out / arm,
            resume=args.resume,
        )
        print(f"{arm}: best epoch {run.best_epoch + 1}, validation ndcg@20 {run.best_value:.4f}")
        results[arm] = evaluate(model.scorer(), data.test, seen=data.seen)
        means = results[arm].means()
        cells["measured"].append(
            release.published_metrics(args.backbone, model.scorer(), data.test, seen=data.seen)
        )
        cells["standard"].append(release.Cell(100 * means["recall@20"], 100 * means["ndcg@20"]))

    print(f"\n{args.dataset}, {args.backbone}: Recall@20 / NDCG@20 in %, test part")
    print(f"{'':<10}{'plain':>15}{'+ SGFD':>15}")
    for name, row in cells.items():
        print(f"{name:<10}" + "".join(f"{cell.recall:>7.2f} / {cell.ndcg:5.2f}" for cell in row))
    print(f"published, measured: {METRICS[args.backbone]}. standard: means over users.")
    print("The paper's epoch was chosen on the test part, ours on a tenth of train, held out.")
    print("Comparable on the authors' own files only, image features included.")
    print(f"+ SGFD against plain, standard: {compare(*results.values(), 'ndcg@20')}")
    summary = {"arguments": {k: str(v) for k, v in vars(args).items()}, "cells": cells}
    (out / "results.json").write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    main()
