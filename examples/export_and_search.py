"""A distilled model out to files, and searched there: vectors, a neighbor index, ONNX.

    python examples/export_and_search.py [--data DIR]

Trains VBPR plain and distilled, with a fifth of the labels hidden; writes vectors, an index and
ONNX graphs; reads them back as a service would; and prints the labels of the items nearest to some
whose label was hidden, by the features of either. Without --data, on a made-up catalog, whose
numbers show that the code works and nothing more.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import torch
import torch.nn.functional as F

from sgfd import Distilled, SGFDLoss, distill
from sgfd.backbones import VBPR
from sgfd.data import Dataset, synthetic_catalog
from sgfd.export import (
    build_index,
    load_index,
    load_vectors,
    nearest,
    save_index,
    save_onnx,
    save_vectors,
)
from sgfd.training import fit


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--data", type=Path, help="a folder as examples/train.py takes it, with one label an item")
    add("--modalities", nargs="+")
    add("--weight", type=float, default=1.0, help="of both distillation losses")
    add("--epochs", type=int, default=20)
    add("--show", type=int, default=6, help="how many items the table has")
    add("--seed", type=int, default=0)
    add("--out", type=Path, default=Path("runs/export_and_search"))
    return parser.parse_args()


def train(data: Dataset, labels: np.ndarray, weight: float, args: argparse.Namespace) -> Distilled:
    """VBPR with students; with weight 0 it trains as it would without."""
    model = distill(
        VBPR(data.train, data.features, seed=args.seed),
        data.features,
        labels,
        num_classes=data.num_classes,
        loss=SGFDLoss(ce_weight=weight, kd_weight=weight),
        seed=args.seed,
    )
    settings = {"batch_size": 1024, "learning_rate": 3e-3, "seed": args.seed}
    fit(model, data, max_epochs=args.epochs, **settings)
    return model.eval()


def neighbors(folder: Path, k: int = 10) -> torch.Tensor:
    """The k nearest other items of each, by the cosine of the features in a folder."""
    found = load_vectors(folder)
    # All modalities alike: the cosine of the whole is the mean of their cosines.
    features = torch.cat([F.normalize(x) for x in found.features.values()], dim=1)
    path = save_index(build_index(features, cosine=True), folder / "like.faiss", overwrite=True)
    items = nearest(load_index(path), features, k + 1).items
    others = items != torch.arange(len(items)).unsqueeze(1)
    others[others.all(dim=1), -1] = False  # where copies of an item pushed it out of its own list
    return items[others].view(-1, k)


def main() -> None:
    """Train, write, read back, compare."""
    args = arguments()
    data = (
        synthetic_catalog(seed=args.seed)
        if args.data is None
        else Dataset.load(args.data, modalities=args.modalities, seed=args.seed)
    )
    if data.labels is None or data.labels.ndim != 1:
        sys.exit("This example needs one label an item; see docs/labels.md to make some.")
    hidden, taught, near = np.arange(0, data.num_items, 5), data.labels.copy(), {}
    hidden = hidden[data.labels[hidden] >= 0]
    taught[hidden] = -1
    for arm, weight in {"plain": 0.0, "distilled": args.weight}.items():
        model, folder = train(data, taught, weight, args), args.out / arm
        ids = {"user_ids": data.user_ids, "item_ids": data.item_ids}
        save_vectors(folder, model.vectors(), features=model.export(), overwrite=True, **ids)
        near[arm] = neighbors(folder)

    # What follows is of the distilled model, which came last.
    saved = load_vectors(folder)
    found = nearest(build_index(saved.items), saved.users, k=20)
    best = model.recommend(torch.arange(data.num_users), k=20)
    same = (found.items == best.items).float().mean()
    print(f"{folder}: {', '.join(saved.card['files'])}")
    print(f"users against items: {same:.2%} of recommend(k=20), place by place")
    for m, path in save_onnx(model, folder, overwrite=True).items():
        session = onnxruntime.InferenceSession(path)
        encoded = session.run(["distilled"], {"raw": np.asarray(data.features[m], np.float32)})[0]
        difference = np.abs(encoded - saved.features[m].numpy()).max()
        print(f"{path}: differs from the exported features by at most {difference:.1e}")

    some = hidden[np.linspace(0, len(hidden) - 1, args.show, dtype=int)]
    print(f"\nLabels of the 5 nearest items, by features ({', '.join(saved.features)}):\n")
    print(f"{'item':>6}  {'hidden label':>12}  " + "  ".join(f"{arm:<14}" for arm in near))
    for i in some:
        lists = [" ".join(map(str, data.labels[items[i, :5]])) for items in near.values()]
        print(f"{i:>6}  {data.labels[i]:>12}  " + "  ".join(f"{text:<14}" for text in lists))
    print(f"\nOf the 10 nearest, the share with the hidden label, over all {len(hidden)} items:")
    for arm, items in near.items():
        print(f"{arm}: {(data.labels[items[hidden]] == data.labels[hidden, None]).mean():.1%}")


if __name__ == "__main__":
    main()
