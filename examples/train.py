"""Train a backbone, plain and distilled, on a folder of your data, and compare them.

    python examples/train.py --data DIR --backbone bm3|grcn|maml|vbpr [--plain]

DIR is in the SGFD layout (train.csv, test.csv, Feature*_normal.npy, MetaData_normal.npy) or the
MMRec layout (*.inter, *_feat.npy; give --labels). Writes checkpoints, logs, pictures and
results.json to --out; with --resume a killed run goes on where it was. --devices 2 --strategy ddp
trains in two processes, each on its share of every batch.
"""

import argparse
import json
import os
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array

from sgfd import FeatureStudent, SGFDLoss, distill, label_features, paper_student
from sgfd.backbones import BM3, GRCN, MAML, VBPR, Recommender
from sgfd.data import Dataset
from sgfd.evaluation import compare, content_profile, evaluate, item_knn, popularity, table
from sgfd.plots import plot_curves, plot_feature_maps
from sgfd.training import fit


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, required=True)
    add("--modalities", nargs="+", help="which features to read; all by default")
    add("--labels", type=Path, help="npy file of class indices, -1 where unknown")
    add("--backbone", choices=["bm3", "grcn", "maml", "vbpr"], required=True)
    add("--plain", action="store_true", help="the plain backbone only")
    add(
        "--student",
        choices=["linear", "paper"],
        default="linear",
        help="paper: the recommender reads LeakyReLU and unit rows; adds a control",
    )
    add("--label-input", action="store_true", help="one more arm: plain, label as a modality")
    add("--ce-weight", type=float, default=0.1)
    add("--kd-weight", type=float, default=0.01)
    add("--temperature", type=float, default=10.0)
    add("--dim", type=int, default=64)
    add("--epochs", type=int, default=200, help="at most; early stopping on validation NDCG@20")
    add("--patience", type=int, default=10)
    add("--batch-size", type=int, default=2048)
    add("--learning-rate", type=float, default=1e-3)
    add("--validation-users", type=int, help="rank so many, drawn by the seed; all by default")
    add("--seed", type=int, default=0, help="of the split, the parameters and the batches")
    add("--devices", type=int, default=1, help="processes, each with a device of its own")
    add("--strategy", choices=["auto", "ddp"], default="auto")
    add("--out", type=Path, default=Path("runs/train"))
    add("--resume", action="store_true")
    return parser.parse_args()


def some_users(part: csr_array, count: int, seed: int) -> csr_array:
    """The pairs of a few users only, to choose epochs faster where there are many."""
    there = np.flatnonzero(np.diff(part.indptr))
    kept = np.zeros(part.shape[0])
    kept[np.random.default_rng(seed).choice(there, min(count, len(there)), replace=False)] = 1
    thinned = csr_array(part.multiply(kept[:, None]))
    thinned.eliminate_zeros()
    return thinned


def build(args: argparse.Namespace, data: Dataset, arm: str) -> torch.nn.Module:
    """The recommender of one arm; all arms start from the same parameters."""
    kind: type[Recommender] = {"bm3": BM3, "grcn": GRCN, "maml": MAML, "vbpr": VBPR}[args.backbone]
    features = dict(data.features)
    if arm == "label as input":
        features["label"] = label_features(data.labels, num_classes=data.num_classes)
    backbone = kind(data.train, features, dim=args.dim, seed=args.seed)
    if arm in ("plain", "label as input"):
        return backbone
    on = arm == "distilled"
    loss = SGFDLoss(
        ce_weight=args.ce_weight * on, kd_weight=args.kd_weight * on, temperature=args.temperature
    )
    student = paper_student if args.student == "paper" else FeatureStudent.adopt
    return distill(
        backbone,
        data.features,
        data.labels,
        num_classes=data.num_classes,
        student=student,
        loss=loss,
        seed=args.seed,
    )


def main() -> None:
    """Train every arm; in the first process print the table and the tests, and draw."""
    args = arguments()
    # Each of several processes runs all of this script, and says by LOCAL_RANK which it is.
    first = os.environ.get("LOCAL_RANK", "0") == "0"
    labels = None if args.labels is None else np.load(args.labels, allow_pickle=False)
    data = Dataset.load(args.data, modalities=args.modalities, labels=labels, seed=args.seed)
    if first:
        print(data.summary())
    if args.validation_users is not None:
        data = replace(data, valid=some_users(data.valid, args.validation_users, args.seed))
    if data.labels is None and (args.label_input or not args.plain):
        sys.exit(f"{args.data} has no labels: give --labels, or train --plain without them.")
    if args.label_input and "label" in data.features:
        sys.exit("--label-input adds a modality, label, but there is one: see --modalities.")
    arms = ["plain", "label as input"] if args.label_input else ["plain"]
    if not args.plain:
        arms += ["student alone", "distilled"] if args.student == "paper" else ["distilled"]

    curves, models = {}, {}
    for arm in arms:
        if first:
            print(f"\n{args.backbone}, {arm}", flush=True)
        model = models[arm] = build(args, data, arm)
        run = fit(
            model,
            data,
            max_epochs=args.epochs,
            patience=args.patience,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            num_negatives={"bm3": 0, "maml": 4}.get(args.backbone, 1),
            seed=args.seed,
            devices=args.devices,
            strategy=args.strategy,
            directory=args.out / arm.replace(" ", "_"),
            resume=args.resume,
        )
        curves[arm] = [epoch.metrics["ndcg@20"] for epoch in run.history]
        if first:
            print(f"best epoch {run.best_epoch + 1}, validation ndcg@20 {run.best_value:.4f}")
    if first:
        report(args, data, models, curves)


def report(
    args: argparse.Namespace,
    data: Dataset,
    models: dict[str, torch.nn.Module],
    curves: dict[str, list[float]],
) -> None:
    """Rank for the test part, print the table and the tests, draw."""
    arms = list(models)
    device = next(models["plain"].parameters()).device
    results = {
        arm: evaluate(model.scorer(), data.test, seen=data.seen, device=device)
        for arm, model in models.items()
    }
    # They learn from the training part alone, as the models do.
    yardsticks = {
        name: evaluate(scores, data.test, seen=data.seen)
        for name, scores in (
            ("popularity", popularity(data.train)),
            ("ItemKNN", item_knn(data.train)),
            ("content", content_profile(data.train, data.features)),
        )
    }
    print("\nTest part, each model at its best validation epoch:")
    print(table(yardsticks | results))
    for arm, result in results.items():
        for name, yardstick in yardsticks.items():
            ours, bar = (run.means()["ndcg@20"] for run in (result, yardstick))
            if ours < bar:
                print(f"Warning: {arm} is below {name} in NDCG@20 ({ours:.4f} against {bar:.4f}).")
    for arm in arms[:-1]:
        print(f"{arms[-1]} against {arm}:")
        for metric in ("recall@20", "ndcg@20"):
            print(f"  {compare(results[arm], results[arms[-1]], metric)}")

    summary = {
        "arguments": {name: str(value) for name, value in vars(args).items()},
        "device": str(device),
        "versions": {
            name: version(name) for name in ("sgfd", "torch", "numpy", "scipy", "lightning")
        },
        "data": data.summary().splitlines(),
        "validation ndcg@20": {arm: max(curve) for arm, curve in curves.items()},
        "test": {arm: result.means() for arm, result in (yardsticks | results).items()},
    }
    (args.out / "results.json").write_text(json.dumps(summary, indent=2) + "\n")
    plot_curves(curves).figure.savefig(args.out / "curves.png", dpi=130)
    if not args.plain:
        draw_features(args, data, models)
    print(f"\nWritten to {args.out}: results.json, logs, checkpoints, pictures")


def draw_features(
    args: argparse.Namespace, data: Dataset, models: dict[str, torch.nn.Module]
) -> None:
    """One picture per modality: what the plain and the distilled recommender read."""
    distilled = models["distilled"].export()
    for m, after in distilled.items():
        projection = models["plain"].projections[m]
        x = models["plain"].features[m](None).to(projection.weight)  # what is missing filled
        figure = plot_feature_maps(
            projection(x).detach().cpu(),
            after,
            data.labels,
            label_names=data.label_names,
            titles=(f"{m}, plain", f"{m}, distilled"),
        )
        figure.savefig(args.out / f"features_{m}.png", dpi=130)


if __name__ == "__main__":
    main()
