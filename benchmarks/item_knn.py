"""What the two options of ``sgfd.evaluation.item_knn`` do: NDCG@20 on validation parts.

python benchmarks/item_knn.py DIR [DIR ...]
"""

import argparse
from itertools import product

from tqdm import tqdm

from sgfd.data import Dataset
from sgfd.evaluation import evaluate, item_knn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="+", help="folders as examples/train.py takes them")
    parser.add_argument("--neighbors", nargs="+", type=int, default=[50, 100, 200])
    parser.add_argument("--shrink", nargs="+", type=float, default=[0, 30, 100, 300])
    args = parser.parse_args()
    for folder in args.data:
        data = Dataset.load(folder, seed=0)
        print(f"\n{data.name or folder}\n\n| neighbors | shrink | NDCG@20 |\n|---|---|---|")
        for k, h in tqdm(list(product(args.neighbors, args.shrink)), leave=False):
            scores = item_knn(data.train, num_neighbors=k, shrink=h)
            found = evaluate(scores, data.valid, seen=data.train).means()["ndcg@20"]
            tqdm.write(f"| {k} | {h:g} | {found:.4f} |")


if __name__ == "__main__":
    main()
