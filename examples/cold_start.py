"""Items that no training has met: plain against distilled, ranked by what the items are.

    python examples/cold_start.py [--data DIR] [--backbone vbpr|grcn|maml]

Holds a fifth of the items out of the catalog altogether, trains on the rest, and ranks the items
held out for the users who chose them, among themselves and among all items. Without --data, on a
made-up catalog. BM3 cannot do this: it scores items by what it learned of each.
"""

import argparse
import json
from pathlib import Path

import torch

from sgfd import FeatureStudent, SGFDLoss, distill, paper_student
from sgfd.backbones import GRCN, MAML, VBPR, Recommender
from sgfd.data import Dataset, hold_out_items, synthetic_catalog
from sgfd.evaluation import compare, evaluate, evaluate_cold, table
from sgfd.training import fit

KINDS: dict[str, type[Recommender]] = {"vbpr": VBPR, "grcn": GRCN, "maml": MAML}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, help="a folder as examples/train.py takes it")
    add("--modalities", nargs="+")
    add("--backbone", choices=KINDS, default="vbpr")
    add("--student", choices=["linear", "paper"], default="linear")
    add("--ce-weight", type=float, default=0.1)
    add("--kd-weight", type=float, default=0.01)
    add("--epochs", type=int, default=200)
    add("--patience", type=int, default=10)
    add("--batch-size", type=int, default=2048)
    add("--learning-rate", type=float, default=1e-3)
    add("--fraction", type=float, default=0.2, help="of the items, held out")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/cold_start"))
    return parser.parse_args()


def main() -> None:
    """Train both arms and print both tables."""
    args = arguments()
    data = (
        synthetic_catalog()
        if args.data is None
        else Dataset.load(args.data, modalities=args.modalities, seed=args.seed)
    )
    split = hold_out_items(data, fraction=args.fraction, seed=args.seed)
    print(split.warm.summary())

    student = paper_student if args.student == "paper" else FeatureStudent.adopt
    arms = {
        "plain": None,
        "distilled": SGFDLoss(ce_weight=args.ce_weight, kd_weight=args.kd_weight),
    }
    if args.student == "paper":
        arms["student alone"] = SGFDLoss(ce_weight=0.0, kd_weight=0.0)
    noise = torch.rand(split.target.shape, generator=torch.Generator().manual_seed(0))
    among_new, among_all = {"chance": evaluate(lambda users: noise[users], split.target)}, {}
    for arm, arm_loss in arms.items():
        warm = split.warm
        model = KINDS[args.backbone](warm.train, warm.features, seed=args.seed)
        if arm_loss is not None:
            model = distill(
                model,
                warm.features,
                warm.labels,
                num_classes=warm.num_classes,
                student=student,
                loss=arm_loss,
                seed=args.seed,
            )
        run = fit(
            model,
            warm,
            max_epochs=args.epochs,
            patience=args.patience,
            batch_size=args.batch_size,
            learning_rate=args.learning_rate,
            num_negatives=4 if args.backbone == "maml" else 1,
            seed=args.seed,
        )
        print(f"{arm}: best epoch {run.best_epoch + 1}, validation ndcg@20 {run.best_value:.4f}")
        device = next(model.parameters()).device
        found = evaluate_cold(model.eval(), split, device=device)
        among_new[arm], among_all[arm] = found.among_new, found.among_all

    print(f"\nNew items among themselves ({len(split.cold_items)}):")
    print(table(among_new))
    print("\nNew items among all:")
    print(table(among_all))
    print(f"distilled against plain: {compare(among_new['plain'], among_new['distilled'])}")
    args.out.mkdir(parents=True, exist_ok=True)
    means = {
        "arguments": {name: str(value) for name, value in vars(args).items()},
        "among new": {arm: found.means() for arm, found in among_new.items()},
        "among all": {arm: found.means() for arm, found in among_all.items()},
    }
    (args.out / "results.json").write_text(json.dumps(means, indent=2) + "\n")


if __name__ == "__main__":
    main()
