"""The examples that are not run elsewhere, on made-up data, for a few epochs."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sgfd.data import synthetic_catalog
from sgfd.evaluation import evaluate, popularity

EXAMPLES = Path(__file__).parent.parent / "examples"
PNG = b"\x89PNG\r\n\x1a\n"


def start(script, *arguments, cwd):
    command = [sys.executable, EXAMPLES / script, *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)


def run(script, *arguments, cwd):
    done = start(script, *arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def row(said, name):
    """The numbers of a table's row."""
    cells = re.search(rf"^\|? ?{re.escape(name)} .*$", said, re.MULTILINE).group()
    return [float(number) for number in re.findall(r"\d\.\d{4}", cells)]


def test_cold_start_ranks_items_held_out(tmp_path):
    said = run("cold_start.py", "--epochs", 2, "--out", tmp_path / "out", cwd=tmp_path)
    for text in (
        "cold: 160 of 800 items held out altogether",
        "New items among themselves (160)",
        "| metric       | chance |  plain | distilled |",
        "New items among all",
        "distilled against plain: ndcg@20",
    ):
        assert text in said
    assert (tmp_path / "out" / "results.json").exists()


def test_own_loop_trains_the_control_and_the_distilled_and_draws_the_terms(tmp_path):
    said = run("own_loop.py", "--epochs", 3, cwd=tmp_path)

    assert said.count("of 3 is best, validation ndcg@20") == 2
    control, distilled = row(said, "ndcg@20")
    assert f"ndcg@20: {control:.4f} -> {distilled:.4f}" in said
    assert control != distilled
    assert (tmp_path / "runs/own_loop/terms.png").read_bytes().startswith(PNG)


def test_wrapping_gives_the_model_back_to_its_class_and_its_checkpoint(tmp_path):
    import torch

    out = tmp_path / "out"
    said = run("wrap_existing_recommender.py", "--epochs", 2, "--out", out, cwd=tmp_path)

    assert "students: {'image': 'reads.image', 'text': 'reads.text'}" in said
    assert len(row(said, "ndcg@10")) == 2
    plain, distilled = (
        torch.load(out / f"{arm}.pt", weights_only=True) for arm in ("plain", "distilled")
    )
    own = {name.removeprefix("backbone.") for name in distilled if name.startswith("backbone.")}
    assert own == plain.keys()
    assert (out / "changes.png").read_bytes().startswith(PNG)


def test_frames_come_back_as_recommendations_in_the_ids_of_their_files(tmp_path):
    said = run("own_data_from_pandas.py", "--epochs", 2, "--out", tmp_path, cwd=tmp_path)

    products = pd.read_csv(tmp_path / "products.csv").set_index("product")
    purchases = pd.read_csv(tmp_path / "purchases.csv")
    assert f"labels: {products['category'].isna().sum()} of 400 items have none" in said
    assert f"test {purchases['customer'].nunique():>14,} pairs" in said  # the last of each
    customer, bought, liked = re.search(
        r"(customer-\d+) bought:\n(.*)\nand may like:\n(.*)\n\n", said, re.DOTALL
    ).groups()
    named = [line.split(maxsplit=1) for line in (bought + "\n" + liked).splitlines()]
    assert all(products["title"][sku] == title for sku, title in named)
    own = purchases[purchases["customer"] == customer]
    assert {line.split()[0] for line in bought.splitlines()} == set(
        own.sort_values("time")["product"].iloc[:-1]
    )
    assert len(liked.splitlines()) == 5
    assert (tmp_path / "neighbors.png").read_bytes().startswith(PNG)


def test_frames_of_ones_own_are_read_with_titles_and_categories_missing(tmp_path):
    rng = np.random.default_rng(0)
    titles = ["None", "", *(f"word{i % 7} word{i % 5}" for i in range(28))]
    products = pd.DataFrame(
        {
            "product": [f"{i:03}" for i in range(30)],
            "title": titles,
            "category": ["a", "b", ""] * 10,
        }
    )
    rows = [
        (f"{u}", f"{i:03}", f"2024-01-{day + 1:02}")
        for u in range(40)
        for day, i in enumerate(rng.choice(30, 6, replace=False))
    ]
    purchases = pd.DataFrame(rows, columns=["customer", "product", "time"])
    products.to_csv(tmp_path / "products.csv", index=False)
    purchases.to_csv(tmp_path / "purchases.csv", index=False)

    said = run("own_data_from_pandas.py", "--data", tmp_path, "--epochs", 1, cwd=tmp_path)

    assert "shop: 40 users, 30 items" in said
    assert "features: 1 of 30 items lack title" in said
    assert "labels: 10 of 30 items have none" in said


def test_missing_modality_reports_the_share_and_ranks_both_kinds_of_items(tmp_path):
    said = run("missing_modality.py", "--epochs", 1, "--lacking", "text", cwd=tmp_path)

    lacking = int(re.search(r"Test items, lacking text \((\d+)\)", said).group(1))
    assert f"Test items, having text ({800 - lacking})" in said
    assert f"features  image 256, text 64 ({lacking / 8:.1f}% missing)" in said
    assert f"model.missing(): {{'image': '0.0%', 'text': '{lacking / 8:.1f}%'}}" in said
    assert len(row(said, "ndcg@20")) == 4
    assert (tmp_path / "runs/missing_modality/classes.png").read_bytes().startswith(PNG)


def test_pseudo_labels_stand_beside_the_true_and_the_shuffled_ones(tmp_path):
    arguments = ("--clusters", 4, 10, "--epochs", 1, "--out", tmp_path)
    said = run("pseudo_labels.py", *arguments, cwd=tmp_path)

    found = re.findall(r"^(\w+) +(\d+) +\d+ to \d+ +(-?\d\.\d+) +(-?\d\.\d+)$", said, re.MULTILINE)
    stability = {(name, int(k)): float(value) for name, k, value, _ in found}
    assert len(stability) == 6
    # As made: users pick by class, and features hide it.
    assert stability["behavior", 10] > 0.8 > 0.5 > stability["content", 10]
    assert "|  plain | content | behavior |   both |   true | shuffled |" in said
    assert len(row(said, "ndcg@20")) == 6
    assert (tmp_path / "changes.png").read_bytes().startswith(PNG)


def test_backbones_are_compared_beside_the_yardsticks(tmp_path):
    said = run("compare_backbones.py", "--epochs", 1, "--dim", 8, "--out", tmp_path, cwd=tmp_path)

    data = synthetic_catalog()
    means = evaluate(popularity(data.train), data.test, seen=data.seen).means()
    expected = [means["recall@20"], means["ndcg@20"]]
    assert row(said, "popularity") == pytest.approx(expected, abs=5e-5)
    for name in ("vbpr", "bm3", "grcn", "maml"):
        assert len(row(said, f"{name} + sgfd")) == 2
        plain = row(said, f"{name:<12}")[1]
        assert f"{name}, distilled against plain: ndcg@20: {plain:.4f} -> " in said
    assert (tmp_path / "changes.png").read_bytes().startswith(PNG)


def test_train_has_the_label_as_one_more_input_beside_the_others(tmp_path):
    data = synthetic_catalog(num_users=60, num_items=40, num_classes=4, interactions_per_user=8)
    for name, part in {"train": data.seen, "test": data.test}.items():
        pairs = pd.DataFrame(np.transpose(part.nonzero()), columns=["userID", "itemID"])
        pairs.to_csv(tmp_path / f"{name}.csv", index=False)
    np.save(tmp_path / "FeatureImage_normal.npy", data.features["image"])
    np.save(tmp_path / "labels.npy", np.where(np.arange(40) < 5, -1, data.labels))
    arguments = ["--data", tmp_path, "--backbone", "vbpr", "--epochs", 2, "--dim", 4]
    told = ["--labels", tmp_path / "labels.npy", "--label-input"]
    said = run("train.py", *arguments, *told, cwd=tmp_path)
    assert "popularity | ItemKNN | content |  plain | label as input | distilled" in said
    assert len(set(row(said, "ndcg@20")[3:])) == 3
    assert (tmp_path / "runs/train/label_as_input/best.pt").exists()

    # A modality of that name is not replaced.
    np.save(tmp_path / "Featurelabel_normal.npy", data.features["image"])
    done = start("train.py", *arguments, *told, cwd=tmp_path)
    word = "--label-input adds a modality, label, but there is one: see --modalities."
    assert (done.returncode, done.stderr.splitlines()[-1]) == (1, word)


def test_without_labels_there_is_a_word_and_no_traceback(tmp_path):
    np.save(tmp_path / "FeatureImage_normal.npy", np.eye(4, dtype=np.float32))
    (tmp_path / "train.csv").write_text("itemID,userID\n0,0\n1,0\n2,1\n3,1\n")
    (tmp_path / "test.csv").write_text("itemID,userID\n2,0\n0,1\n")
    done = start("own_loop.py", "--data", tmp_path, cwd=tmp_path)

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"{tmp_path} has no labels to distil."
    assert "Traceback" not in done.stderr
