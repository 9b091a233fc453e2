"""The paper's settings, sizes and metrics in ``sgfd.release``."""

import inspect
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.sparse import csr_array

from sgfd import backbones, release
from sgfd.data import Dataset, synthetic_catalog
from sgfd.evaluation import bm3_release_metrics, grcn_full_accuracy

BACKBONES = ("bm3", "grcn", "maml")
DATASETS = ("Office", "Clothing", "ToysGames")


@pytest.mark.parametrize("dataset", DATASETS)
@pytest.mark.parametrize("backbone", BACKBONES)
def test_a_recipe_fits_its_backbone(backbone, dataset):
    recipe = release.recipe(backbone, dataset)
    suffix = {"ToysGames": "TOYS"}.get(dataset, dataset.upper())
    assert recipe.weights == getattr(release, f"{backbone.upper()}_{suffix}")
    accepted = inspect.signature(getattr(backbones, backbone.upper())).parameters
    assert recipe.options.keys() <= accepted.keys()
    assert recipe.dim == 128
    assert (recipe.batch_size, recipe.num_negatives) == {
        "bm3": (2048, 0),
        "grcn": (1024, 1),
        "maml": (256, 4),
    }[backbone]


def test_all_cells_are_the_table_of_the_paper():
    table = [[release.recipe(b, d)[5:7] for d in DATASETS] for b in BACKBONES]
    recalls, ndcgs = np.moveaxis(np.array(table), -1, 0)
    # Rows bm3, grcn, maml; columns Office, Clothing, Toys & Games; plain, distilled in each.
    assert recalls.tolist() == [
        [[13.67, 14.07], [7.43, 7.84], [12.22, 12.54]],
        [[13.20, 13.88], [7.63, 8.16], [11.85, 12.59]],
        [[13.33, 14.22], [6.89, 7.18], [12.84, 13.23]],
    ]
    assert ndcgs.tolist() == [
        [[15.36, 15.86], [4.21, 4.57], [11.92, 12.94]],
        [[15.33, 16.26], [4.12, 4.35], [11.23, 11.93]],
        [[14.12, 14.87], [3.70, 3.89], [12.09, 12.60]],
    ]


def test_unknown_names_are_refused_with_those_there_are():
    with pytest.raises(ValueError, match="'Clothing' or 'ToysGames'; got 'bm3' and 'office'"):
        release.recipe("bm3", "office")
    with pytest.raises(ValueError, match="'grcn' or 'maml', .* got 'vbpr' and 'Office'"):
        release.recipe("vbpr", "Office")
    with pytest.raises(ValueError, match="one of Office, Clothing, ToysGames; got 'Toys'"):
        release.catalog("Toys")
    with pytest.raises(ValueError, match="'bm3', 'grcn' or 'maml'; got 'vbpr'"):
        release.published_metrics("vbpr", lambda users: users, csr_array((3, 30)))


def test_differences_name_only_what_differs():
    data = synthetic_catalog(num_users=60, num_items=50, num_classes=3)
    pairs = data.seen.nnz + data.test.nnz
    same = release.Catalog(60, 50, pairs, 3, {m: data.widths[m] for m in reversed(data.widths)})
    assert same.differences(data) == []
    assert same._replace(num_items=51, num_classes=4).differences(data) == [
        "items: 50 here, 51 in the paper",
        "labels: 3 here, 4 in the paper",
    ]


@pytest.mark.data
@pytest.mark.parametrize(("name", "dataset"), [("office", "Office"), ("toys", "ToysGames")])
def test_users_items_and_pairs_are_those_of_the_authors_splits(data_dir, name, dataset):
    data = Dataset.load(data_dir / name, modalities=["Text"])
    differing = [line.split(":")[0] for line in release.catalog(dataset).differences(data)]
    assert set(differing) <= {"labels", "feature widths"}


def random_ranking(num_users=30, num_items=60, seed=0):
    rng = np.random.default_rng(seed)
    state = rng.random((num_users, num_items))
    seen, target = csr_array((state < 0.3) * 1.0), csr_array((state > 0.9) * 1.0)
    scores = -torch.from_numpy(rng.permutation(state.size).reshape(state.shape) + 1.0)
    return scores, target, seen


def test_mamls_cell_is_recall_and_ndcg_over_the_hits_with_seen_items_left_out():
    scores, target, seen = random_ranking()
    recalls, ndcgs = [], []
    for user in range(len(scores)):
        unseen = [i for i in range(60) if not seen[user, i]]
        best = sorted(unseen, key=lambda i: -float(scores[user, i]))[:20]
        wanted = [i for i in range(60) if target[user, i]]
        if wanted:
            ranks = [r for r, i in enumerate(best) if i in wanted]
            ideal = sum(1 / math.log(r + 2) for r in range(len(ranks)))
            recalls.append(len(ranks) / len(wanted))
            ndcgs.append(sum(1 / math.log(r + 2) for r in ranks) / ideal if ranks else 0.0)
    cell = release.published_metrics(
        "maml", lambda users: scores[users], target, seen=seen, batch_size=7
    )
    assert cell == pytest.approx((100 * np.mean(recalls), 100 * np.mean(ndcgs)))


def test_the_other_cells_are_their_backbones_own_metrics_in_percent():
    scores, target, seen = random_ranking(seed=1)
    function = {"scores": lambda users: scores[users], "target": target, "seen": seen}
    bm3 = bm3_release_metrics(**function)
    assert release.published_metrics("bm3", **function) == pytest.approx(
        (100 * bm3["micro_recall@20"], 100 * bm3["bm3_ndcg@20"])
    )
    grcn = grcn_full_accuracy(**function)
    assert release.published_metrics("grcn", **function) == pytest.approx(
        (100 * grcn.recall, 100 * grcn.ndcg)
    )


def test_a_preset_repeats_by_its_seed_and_draws_nothing_else():
    state = torch.get_rng_state()
    first, again, other = (
        release.settings({"a": 40}, 3, out_features=8, seed=s) for s in (1, 1, 2)
    )
    assert torch.equal(torch.get_rng_state(), state)
    weights = [preset.teacher.extractors["a"][0].weight for preset in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_a_preset_without_unit_rows_has_none_on_either_side():
    preset = release.settings({"a": 6}, 3, out_features=4, activation=F.relu, normalize=False)
    linear, x = torch.nn.Linear(6, 4), torch.randn(5, 6)
    student = preset.student(linear)
    assert torch.equal(student(x), linear(x).relu())
    assert torch.equal(student.embed(x), linear(x).relu())
    assert not preset.teacher.normalize
