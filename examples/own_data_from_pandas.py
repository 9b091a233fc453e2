"""From two csv files to a distilled recommender, and to recommendations in your own ids.

    python examples/own_data_from_pandas.py [--data DIR]

DIR holds purchases.csv (customer, product, time) and products.csv (product, title, category, which
may be empty). Titles become features by TF-IDF; a sentence encoder would read them better. The last
purchase of each customer is the test. Without --data, the script makes up a small shop, writes it
as such files and reads them. Titles show the category there, so that there is little to teach; and
what is measured on made-up data says nothing about the worth of the method anyway.
"""

import argparse
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import TfidfVectorizer

from sgfd import SGFDLoss, distill
from sgfd.backbones import VBPR
from sgfd.data import Dataset
from sgfd.evaluation import compare, evaluate, item_knn, popularity, table
from sgfd.plots import plot_neighbors
from sgfd.training import fit

SHOP = {  # words of titles, by category; some are in several
    "tea": "green black jasmine leaf bags china blend morning",
    "coffee": "beans ground dark roast espresso blend morning filter",
    "cups": "porcelain mug glass china small large white blue",
    "pots": "kettle cast iron glass filter large steel black",
    "sweets": "honey biscuits dark chocolate ginger small tin assorted",
    "books": "atlas of leaf recipes history illustrated pocket blue",
}


def make_shop(folder: Path, seed: int) -> None:
    """Two files of a shop that does not exist; who likes a category buys more of it."""
    rng = np.random.default_rng(seed)
    category = rng.choice(list(SHOP), size=400)
    titles = [" ".join(rng.choice(SHOP[c].split(), size=4, replace=False)) for c in category]
    skus = [f"P{1000 + i}" for i in range(400)]
    products = pd.DataFrame({"product": skus, "title": titles, "category": category})
    products.loc[rng.random(400) < 0.1, "category"] = None
    products.to_csv(folder / "products.csv", index=False)
    carts = []
    for customer in range(600):
        liking = {c: np.exp(2.5 * rng.normal()) for c in SHOP}
        odds = np.array([liking[c] for c in category])
        bought = rng.choice(skus, size=rng.integers(4, 12), replace=False, p=odds / odds.sum())
        days = pd.Timestamp("2024-01-01") + pd.to_timedelta(rng.integers(0, 365, len(bought)), "D")
        cart = {"customer": f"customer-{customer}", "product": bought, "time": days}
        carts.append(pd.DataFrame(cart))
    pd.concat(carts).to_csv(folder / "purchases.csv", index=False)


def main() -> None:
    """Read, split by time, train, recommend."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="a folder with the two files")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/own_data_from_pandas"))
    args = parser.parse_args()
    folder = args.data or args.out
    args.out.mkdir(parents=True, exist_ok=True)
    if args.data is None:
        make_shop(folder, args.seed)

    # Ids stay strings, and nothing is read as missing: a title may be "None".
    read = partial(pd.read_csv, dtype=str, keep_default_na=False)
    products = read(folder / "products.csv").set_index("product")
    purchases = read(folder / "purchases.csv", parse_dates=["time"])
    purchases = purchases.sort_values("time", kind="stable")
    purchases = purchases.drop_duplicates(["customer", "product"])
    last = ~purchases.duplicated("customer", keep="last")
    often = purchases["customer"].map(purchases["customer"].value_counts()) > 1
    purchases["part"] = np.where(last & often, "test", "train")

    words = TfidfVectorizer(max_features=512, sublinear_tf=True).fit_transform(products["title"])
    text = pd.DataFrame(words.toarray().astype(np.float32), index=products.index)
    text[text.eq(0).all(axis=1)] = np.nan  # a row of NaN says that the product lacks the modality
    data = Dataset.from_pandas(
        purchases,
        features={"title": text},
        labels=products["category"],  # empty where unknown
        user="customer",
        item="product",
        part="part",
        seed=args.seed,
        name="shop",
    )
    print(data.summary())

    plain = VBPR(data.train, data.features, seed=args.seed)
    model = distill(
        VBPR(data.train, data.features, seed=args.seed),
        data.features,
        data.labels,
        loss=SGFDLoss(ce_weight=0.3, kd_weight=0.3),
        seed=args.seed,
    )
    scorers = {"popularity": popularity(data.train), "ItemKNN": item_knn(data.train)}
    for arm, recommender in {"plain": plain, "distilled": model}.items():
        settings = {"max_epochs": args.epochs, "batch_size": 1024, "learning_rate": 3e-3}
        fit(recommender, data, seed=args.seed, **settings)
        scorers[arm] = recommender.scorer()
    results = {arm: evaluate(s, data.test, seen=data.seen) for arm, s in scorers.items()}
    print(table(results, metrics=["recall@20", "ndcg@20"]))
    print(compare(results["plain"], results["distilled"]))

    # From indices to your ids: data.user_ids and data.item_ids.
    named = [f"{sku} {products['title'][sku]}" for sku in data.item_ids]
    bought = [named[item] for item in data.seen[[0]].indices]
    best = model.recommend(torch.tensor([0]), k=5, seen=data.seen).items[0].tolist()
    print(f"\n{data.user_ids[0]} bought:", *bought, sep="\n  ")
    print("and may like:", *(named[item] for item in best), sep="\n  ")

    ax = plot_neighbors(
        plain.projections["title"](plain.features["title"]()),
        model.export()["title"],
        data.labels,
        best[0],
        label_names=data.label_names,
        item_names=named,
        titles=("plain", "distilled"),
    )
    ax.figure.savefig(args.out / "neighbors.png", dpi=130)
    print(f"\nNeighbors of the first of them: {args.out / 'neighbors.png'}")


if __name__ == "__main__":
    main()
