import builtins
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from sgfd import PseudoLabels, pseudo_labels
from sgfd._beside import beside
from sgfd.data import Dataset


def blobs(sizes, width=16, *, distance=12.0, seed=0):
    """Items around centers at right angles, shuffled; and which center each is of."""
    rng = np.random.default_rng(seed)
    kinds = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    centers = distance * np.eye(len(sizes), width)
    return centers[kinds] + rng.normal(size=(len(kinds), width)), kinds


def test_separate_blobs_are_found_exactly_and_every_time():
    points, kinds = blobs([30, 50, 90, 130])
    made = pseudo_labels(points, 4, seed=3)
    assert adjusted_rand_score(kinds, made.labels) == 1.0
    assert made.stability == pytest.approx(1.0, abs=1e-12)
    assert len(made.agreements) == 5
    assert made.labels.dtype == torch.int64


def test_clusters_are_numbered_by_size():
    points, kinds = blobs([30, 50, 90, 130])
    made = pseudo_labels(points, 4)
    assert made.sizes == (130, 90, 50, 30)
    assert made.labels.tolist() == (3 - kinds).tolist()


def test_minibatches_find_the_same_blobs():
    points, kinds = blobs([30, 50, 90, 130])
    made = pseudo_labels(points, 4, batch_size=64)
    assert made.labels.tolist() == (3 - kinds).tolist()
    assert made.stability == pytest.approx(1.0, abs=1e-12)


def test_noise_is_not_stable():
    noise = np.random.default_rng(0).normal(size=(600, 20))
    made = pseudo_labels(noise, 12)
    assert 0 <= made.stability < 0.2
    assert made.stability == pytest.approx(np.mean(made.agreements))


def test_stability_falls_where_k_is_not_the_number_of_blobs():
    points, _ = blobs([60, 60, 60, 60, 60])
    right, low, high = (pseudo_labels(points, k, seed=1).stability for k in (5, 3, 9))
    assert right == pytest.approx(1.0, abs=1e-12)
    assert low < 0.9
    assert high < 0.9


def test_the_squared_error_is_that_of_scikit_learn():
    points = np.random.default_rng(5).normal(size=(300, 6))
    labels = pseudo_labels(points, 4, restarts=20, repeats=0).labels.numpy()
    centers = np.stack([points[labels == label].mean(axis=0) for label in range(4)])
    error = np.square(points - centers[labels]).sum()
    assert error == pytest.approx(
        KMeans(4, n_init=20, random_state=7).fit(points).inertia_, rel=0.01
    )


def test_the_same_seed_gives_the_same_labels_whatever_the_repeats():
    noise = np.random.default_rng(1).normal(size=(200, 8))
    first, again, other = (pseudo_labels(noise, 7, seed=seed) for seed in (4, 4, 5))
    assert first.labels.tolist() == again.labels.tolist()
    assert first.agreements == again.agreements
    assert first.labels.tolist() != other.labels.tolist()
    bare = pseudo_labels(noise, 7, seed=4, repeats=0)
    assert bare.labels.tolist() == first.labels.tolist()
    assert bare.agreements == ()
    assert np.isnan(bare.stability)


def test_global_generators_are_left_alone():
    points, _ = blobs([20, 30])
    np.random.seed(0)  # noqa: NPY002
    before = (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002
    pseudo_labels(points, 2)
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # noqa: NPY002


def test_the_order_of_modalities_is_irrelevant():
    rng = np.random.default_rng(2)
    image, text = rng.normal(size=(150, 9)), rng.normal(size=(150, 4))
    first = pseudo_labels({"image": image, "text": text}, 6)
    second = pseudo_labels({"text": text, "image": image}, 6)
    assert first.labels.tolist() == second.labels.tolist()
    assert first.agreements == second.agreements


def test_modalities_weigh_the_same_whatever_their_scale_width_and_offset():
    rng = np.random.default_rng(3)
    a = rng.normal(size=(400, 50)) * 1e-3 + 7
    b = np.abs(rng.normal(size=(400, 3))) * 1e4
    points = beside({"a": a, "b": b}).points.astype(np.float64)
    for block, raw in ((points[:, :50], a), (points[:, 50:], b)):
        assert np.square(block).sum(axis=1).mean() == pytest.approx(1.0, rel=1e-5)
        assert block.mean(axis=0) == pytest.approx(np.zeros(block.shape[1]), abs=1e-5)
        spreads = raw.std(axis=0) / raw[:, 0].std()
        assert block.std(axis=0) / block[:, 0].std() == pytest.approx(spreads, rel=1e-4)


def test_each_modality_has_its_say():
    # Two kinds in the large, wide one, three in the small, narrow one: six in both.
    wide, first = blobs([150, 90], width=200, distance=40.0, seed=1)
    narrow, second = blobs([60, 80, 100], width=5, seed=2)
    labels = pseudo_labels({"wide": wide * 1e3 + 5e4, "narrow": narrow * 1e-2}, 6).labels
    assert adjusted_rand_score(first * 3 + second, labels) == 1.0


def test_an_offset_that_float32_would_drown_is_taken_off_before():
    points, kinds = blobs([20, 40])
    assert pseudo_labels(points + 1e10, 2).labels.tolist() == (1 - kinds).tolist()


def test_items_without_any_features_are_unknown():
    points, kinds = blobs([30, 50, 90])
    points[[0, 7, 8]] = np.nan
    labels = pseudo_labels(points, 3).labels
    assert labels[[0, 7, 8]].tolist() == [-1, -1, -1]
    kept = np.delete(np.arange(170), [0, 7, 8])
    assert labels[kept].tolist() == (2 - kinds[kept]).tolist()


def test_an_item_that_lacks_a_modality_is_placed_by_what_it_has():
    image, kinds = blobs([30, 50, 90], seed=1)
    text = blobs([30, 50, 90], width=7, seed=1)[0]
    image[:20], text[10:30] = np.nan, np.nan
    made = pseudo_labels({"image": image, "text": text}, 3)
    expected = 2 - kinds
    expected[10:20] = -1
    assert made.labels.tolist() == expected.tolist()
    assert sum(made.sizes) == 160


def test_items_that_lack_a_modality_change_nothing_for_the_others():
    rng = np.random.default_rng(8)
    image, text = rng.normal(size=(170, 16)), rng.normal(size=(170, 4))
    before = pseudo_labels({"image": image, "text": text}, 5)
    # Nearly as many more with an image only, which would be a cluster of their own.
    image = np.concatenate([image, rng.normal(size=(150, 16)) - 30])
    text = np.concatenate([text, np.full((150, 4), np.nan)])
    after = pseudo_labels({"image": image, "text": text}, 5)
    assert (after.labels >= 0).all()
    # Sizes, and so the numbering, count the new items.
    assert adjusted_rand_score(before.labels, after.labels[:170]) == 1.0


def test_the_nearest_center_is_by_the_columns_that_are_there():
    rng = np.random.default_rng(6)
    a, b = rng.normal(size=(40, 3)), rng.normal(size=(40, 2))
    a[:10], b[5:15] = np.nan, np.nan
    items = beside({"a": a, "b": b})
    centers = rng.normal(size=(4, 5)).astype(np.float32)
    for i, label in enumerate(items.nearest(centers).tolist()):
        there = ~np.isnan(items.points[i])
        if not there.any():
            assert label == -1
        else:
            distances = np.square(items.points[i, there] - centers[:, there]).sum(axis=1)
            assert label == distances.argmin()


def test_a_modality_that_is_the_same_for_all_says_nothing():
    points, _ = blobs([30, 50, 90])
    alone = pseudo_labels({"image": points}, 3)
    beside_it = pseudo_labels({"image": points, "text": np.full((170, 4), 0.1)}, 3)
    assert alone.labels.tolist() == beside_it.labels.tolist()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_tensors_of_every_floating_dtype_are_read(dtype):
    points, kinds = blobs([30, 50, 90])
    features = torch.tensor(points, dtype=dtype, requires_grad=True)
    assert pseudo_labels(features, 3).labels.tolist() == (2 - kinds).tolist()


def test_a_read_only_memory_map_in_half_precision_is_read(tmp_path: Path):
    points, kinds = blobs([30, 50, 90])
    np.save(tmp_path / "image.npy", points.astype(np.float16))
    mapped = np.load(tmp_path / "image.npy", mmap_mode="r")
    assert isinstance(mapped, np.memmap)
    assert pseudo_labels({"image": mapped}, 3).labels.tolist() == (2 - kinds).tolist()


def test_the_caller_s_array_is_not_changed():
    points, _ = blobs([30, 50])
    points[3] = np.nan
    for dtype in (np.float32, np.float64):
        given = points.astype(dtype)
        pseudo_labels(given, 2)
        np.testing.assert_array_equal(given, points.astype(dtype))


def test_as_many_clusters_as_distinct_items_are_possible_and_one_more_is_not():
    points = np.repeat(np.arange(6.0)[:, None] ** 2, 5, axis=0)
    assert pseudo_labels(points, 6).sizes == (5,) * 6
    with pytest.raises(ValueError, match=r"k must be at most the number of distinct items that"):
        pseudo_labels(points, 7)
    image, text = points.copy(), points.copy()
    image[:20], text[25:] = np.nan, np.nan
    with pytest.raises(ValueError, match=r"have every modality \(1\); got 2"):
        pseudo_labels({"image": image, "text": text}, 2)
    text[20:] = np.nan
    with pytest.raises(ValueError, match="At least one item must have every modality; none has"):
        pseudo_labels({"image": image, "text": text}, 2)


def test_print_says_how_to_read_it():
    labels = torch.tensor([0] * 1234 + [1] * 20 + [-1] * 3)
    assert str(PseudoLabels(labels, (1234, 20), 0.625, (0.5, 0.75))) == (
        "2 clusters of 20 to 1,234 items; 1,254 items labeled, 3 unknown; stability 0.62 (1: "
        "the same clusters from any sample of the items, 0: as by chance; mean adjusted Rand "
        "index over 2 samples)"
    )
    assert str(PseudoLabels(labels, (1234, 20), float("nan"), ())) == (
        "2 clusters of 20 to 1,234 items; 1,254 items labeled, 3 unknown; stability not measured"
    )
    assert repr(PseudoLabels(labels, (1234, 20), 0.5, ())).startswith("PseudoLabels(labels=tensor(")


def test_progress_counts_the_clusterings(capsys):
    points, _ = blobs([20, 30])
    pseudo_labels(points, 2, repeats=3)
    assert capsys.readouterr().err == ""
    pseudo_labels(points, 2, repeats=3, progress=True)
    assert "4/4" in capsys.readouterr().err


GOOD = np.random.default_rng(0).normal(size=(20, 3))
HOLED = GOOD.copy()
HOLED[4:6, 1] = np.nan


def with_value(value):
    changed = GOOD.copy()
    changed[7, 0] = value
    return changed


@pytest.mark.parametrize(
    ("features", "options", "text"),
    [
        (GOOD, {"k": 1}, r"k must be an integer of at least 2; got 1\."),
        (GOOD, {"k": 2.5}, r"k must be an integer of at least 2; got 2\.5\."),
        (GOOD, {"k": 21}, r"distinct items that have every modality \(20\); got 21\."),
        (GOOD, {"restarts": 0}, "restarts must be an integer of at least 1; got 0"),
        (GOOD, {"repeats": -1}, "repeats must be an integer of at least 0; got -1"),
        (GOOD, {"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        ({}, {}, "features must hold at least one modality"),
        (GOOD[:, 0], {}, r"features must be \(N, F\) of a floating dtype.*got shape \(20,\)"),
        (GOOD[:, :0], {}, r"neither of them 0; got shape \(20, 0\)"),
        (GOOD[:0], {}, r"neither of them 0; got shape \(0, 3\)"),
        (
            {"image": np.ones((4, 3), dtype=int)},
            {},
            r"features\['image'\] must be .* floating dtype.* of int64",
        ),
        ({"a": GOOD, "b": GOOD[:9]}, {}, r"one row per item; got rows .*20, .*: 9"),
        (
            {"a": GOOD, "b": HOLED},
            {},
            r"features\['b'\] must be finite in float32, or NaN in the whole row .*; "
            r"2 rows are neither, the first at position 4\.",
        ),
        (with_value(np.inf), {}, "1 rows are neither.*position 7"),
        (with_value(1e39), {}, "finite in float32.*position 7"),
        ({"a": GOOD, "b": GOOD * np.nan}, {}, r"features\['b'\] must hold features; got NaN for"),
    ],
)
def test_bad_input_is_an_error_that_says_so(features, options, text):
    with pytest.raises(ValueError, match=text):
        pseudo_labels(features, **{"k": 2, **options})


def test_features_must_be_a_tensor_or_an_array():
    with pytest.raises(TypeError, match=r"features\['a'\] must be a tensor or an array; got list"):
        pseudo_labels({"a": GOOD.tolist()}, 2)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.split(".")[0] == "sklearn":
            raise ImportError(f"No module named {name!r}")
        return real(name, *args, **kwargs)

    for name in [m for m in sys.modules if m.split(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r'pip install "sgfd\[labels\]"'):
        pseudo_labels(GOOD, 2)


@pytest.mark.data
def test_clusters_of_office_know_its_categories(data_dir: Path):
    data = Dataset.load(data_dir / "office", modalities=["Title", "Desc"])
    made = pseudo_labels(data.features, 27, repeats=2)
    assert normalized_mutual_info_score(data.labels, made.labels) > 0.5
    assert adjusted_rand_score(data.labels, made.labels) > 0.25
    assert 0.4 < made.stability < 0.7


@pytest.mark.data
@pytest.mark.parametrize(("k", "stability"), [(10, 0.6), (30, 0.5), (100, 0.35)])
def test_clusters_of_tiktok_are_half_stable_and_less_so_the_more_there_are(
    data_dir: Path, k: int, stability: float
):
    data = Dataset.load(data_dir / "tiktok")
    made = pseudo_labels(data.features, k, repeats=3)
    assert made.stability == pytest.approx(stability, abs=0.12)
    assert sum(made.sizes) == 6710
    assert len(made.sizes) == k
