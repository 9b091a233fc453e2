"""What the pictures say, read back from the Axes."""

import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
import torch

from sgfd.evaluation import Comparison
from sgfd.plots import (
    neighbor_agreement,
    plot_comparison,
    plot_curves,
    plot_feature_maps,
    plot_features,
)

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def first_two(points: np.ndarray) -> np.ndarray:
    return points[:, :2]


def blobs(sizes, *, unknown: int = 0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Classes around distant centers, then ``unknown`` items without a label."""
    labels = np.concatenate([np.repeat(np.arange(len(sizes)), sizes), np.full(unknown, -1)])
    centers = np.random.default_rng(seed).normal(scale=20, size=(len(sizes) + 1, 4))
    noise = np.random.default_rng(seed + 1).normal(size=(len(labels), 4))
    return centers[labels] + noise, labels


def points_by_name(ax) -> dict[str, int]:
    return {group.get_label(): len(group.get_offsets()) for group in ax.collections}


def legend_texts(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def test_neighbor_agreement_is_the_mean_share_of_equal_labels_nearby():
    rng = np.random.default_rng(4)
    features, labels = rng.normal(size=(40, 3)), rng.integers(-1, 3, size=40)

    shares = []
    labeled = np.flatnonzero(labels >= 0)
    for i in labeled:
        others = [j for j in labeled if j != i]
        near = sorted(others, key=lambda j: np.linalg.norm(features[i] - features[j]))[:5]
        shares.append(np.mean(labels[near] == labels[i]))

    assert neighbor_agreement(features, labels, neighbors=5) == pytest.approx(np.mean(shares))


def test_neighbor_agreement_is_one_for_separate_classes_and_reads_tensors():
    features, labels = blobs([12, 15], unknown=4)

    value = neighbor_agreement(
        torch.from_numpy(features).requires_grad_(), torch.from_numpy(labels)
    )

    assert value == 1.0


@pytest.mark.parametrize("neighbors", [0, 27])
def test_neighbors_must_be_fewer_than_the_labeled_items(neighbors):
    with pytest.raises(ValueError, match=f"neighbors must be .*got {neighbors}"):
        neighbor_agreement(*blobs([12, 15], unknown=4), neighbors=neighbors)


def test_every_item_is_drawn_once_under_its_class():
    features, labels = blobs([5, 9, 7], unknown=4)

    ax = plot_features(features, labels, label_names=["tea", "cup", "pot"], embed=first_two)

    assert points_by_name(ax) == {"unknown (4)": 4, "cup (9)": 9, "pot (7)": 7, "tea (5)": 5}
    assert legend_texts(ax) == ["unknown (4)", "cup (9)", "pot (7)", "tea (5)"]
    drawn = np.concatenate([group.get_offsets() for group in ax.collections])
    np.testing.assert_allclose(np.sort(drawn, axis=0), np.sort(features[:, :2], axis=0), rtol=1e-6)


def test_items_stand_where_embed_puts_them():
    features, labels = blobs([5, 9])

    ax = plot_features(features, labels, embed=first_two)

    largest = next(group for group in ax.collections if group.get_label() == "1 (9)")
    np.testing.assert_allclose(largest.get_offsets(), features[labels == 1, :2], rtol=1e-6)


def test_the_title_carries_the_agreement_in_the_original_space_and_by_chance():
    features, labels = blobs([20, 20], unknown=3)
    features[:, :2] = 0  # the map shows nothing, the number still tells

    ax = plot_features(features, labels, title="image", neighbors=7, embed=first_two)

    chance = 2 * 20 * 19 / (40 * 39)
    assert ax.get_title() == f"image\n7-NN label agreement 1.00 (chance {chance:.2f})"


def test_too_few_labeled_items_have_no_agreement_in_the_title():
    features, labels = blobs([5, 5], unknown=30)

    assert plot_features(features, labels, title="image", embed=first_two).get_title() == "image"


def test_only_the_largest_classes_are_named_and_the_rest_are_other():
    sizes = [3, 8, 5, 2, 6]

    ax = plot_features(*blobs(sizes), max_classes=2, embed=first_two)

    assert points_by_name(ax) == {"3 other (10)": 10, "1 (8)": 8, "4 (6)": 6}


def test_named_classes_differ_without_color_and_unnamed_ones_are_grey():
    ax = plot_features(*blobs([4] * 14, unknown=3), embed=first_two)

    unknown, other, *named = ax.collections
    assert unknown.get_label() == "unknown (3)"
    assert other.get_label() == "2 other (8)"
    for group in (unknown, other):
        red, green, blue, _ = group.get_facecolor()[0]
        assert red == green == blue
    assert len(named) == 12
    assert len({group.get_paths()[0].vertices.tobytes() for group in named}) == 12


def test_more_items_than_max_points_are_sampled_by_seed_and_said_so():
    features, labels = blobs([60, 40])

    def drawn(seed: int) -> np.ndarray:
        ax = plot_features(features, labels, max_points=30, seed=seed, embed=first_two)
        assert ax.get_xlabel() == "30 of 100 items, drawn at random"
        return np.concatenate([group.get_offsets() for group in ax.collections])

    assert drawn(1).shape == (30, 2)
    np.testing.assert_array_equal(drawn(1), drawn(1))
    assert not np.array_equal(drawn(1), drawn(2))


def test_t_sne_separates_what_is_separate_and_obeys_the_seed():
    features, labels = blobs([15, 15])

    def drawn() -> list[np.ndarray]:
        return [np.asarray(g.get_offsets()) for g in plot_features(features, labels).collections]

    first, second = drawn()
    gap = np.linalg.norm(first.mean(axis=0) - second.mean(axis=0))
    spread = max(np.linalg.norm(g - g.mean(axis=0), axis=1).max() for g in (first, second))
    assert gap > spread
    np.testing.assert_array_equal([first, second], drawn())


def test_a_given_axes_is_drawn_on_and_may_go_without_legend():
    import matplotlib.pyplot as plt

    figure, given = plt.subplots()

    assert plot_features(*blobs([5, 9]), embed=first_two, legend=False, ax=given) is given
    assert given.get_legend() is None
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"features": np.zeros(14)}, ValueError, r"\(items, dimensions\); got \(14,\)"),
        ({"labels": np.zeros(13, int)}, ValueError, r"row of features, \(14,\); got \(13,\)"),
        ({"labels": np.zeros(14)}, TypeError, "labels must be integers, .* got float64"),
        ({"features": np.full((14, 2), np.nan)}, ValueError, "row 0 holds NaN"),
        ({"label_names": ["tea"]}, ValueError, "got 1 names and label 1"),
        ({"embed": lambda x: x}, ValueError, r"must return finite \(14, 2\); got \(14, 4\)"),
        ({"max_points": 0}, ValueError, "max_points must be an integer of at least 1; got 0"),
        ({"embed": None, "max_points": 4}, ValueError, "at least 5 items; got 4. Pass embed="),
    ],
)
def test_bad_items_are_refused_with_the_contract(change, error, message):
    features, labels = blobs([5, 9])
    arguments = {"features": features, "labels": labels, "embed": first_two} | change

    with pytest.raises(error, match=message):
        plot_features(**arguments)


def test_two_maps_show_the_same_items_in_the_same_style_with_one_legend():
    before, labels = blobs([30, 20], unknown=10)
    after = np.hstack([-before, before[:, :1]])

    figure = plot_feature_maps(
        before, after, labels, titles=("plain", "distilled"), max_points=25, embed=first_two
    )

    left, right = figure.axes
    assert left.get_title().startswith("plain\n10-NN label agreement")
    assert right.get_title().startswith("distilled\n10-NN label agreement")
    assert left.get_legend() is None
    assert legend_texts(right) == list(points_by_name(left))
    for one, two in zip(left.collections, right.collections, strict=True):
        np.testing.assert_array_equal(one.get_offsets(), -two.get_offsets())
        np.testing.assert_array_equal(one.get_facecolor(), two.get_facecolor())


def test_curves_run_by_epoch_from_one_and_mark_the_best():
    curves = {"plain": [0.1, 0.25, 0.2], "distilled": [0.15, np.nan, 0.3, 0.2]}

    ax = plot_curves(curves, metric="validation recall@10")

    plain, distilled = ax.get_lines()
    assert plain.get_xdata().tolist() == [1, 2, 3]
    assert plain.get_ydata().tolist() == curves["plain"]
    assert (plain.get_markevery(), distilled.get_markevery()) == ([1], [2])
    assert legend_texts(ax) == ["plain: 0.2500 at epoch 2", "distilled: 0.3000 at epoch 3"]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "validation recall@10")
    assert plain.get_linestyle() != distilled.get_linestyle()
    assert plain.get_marker() != distilled.get_marker()
    assert all(tick == int(tick) for tick in ax.get_xticks())


def test_the_best_of_a_loss_is_its_least_and_no_best_is_no_mark():
    losses = {"plain": [0.4, 0.1, 0.2]}

    assert legend_texts(plot_curves(losses, best=np.nanargmin)) == ["plain: 0.1000 at epoch 2"]
    assert legend_texts(plot_curves(losses, best=None)) == ["plain"]


@pytest.mark.parametrize("values", [[], [np.nan], [[0.1, 0.2]]])
def test_a_curve_without_numbers_by_epoch_is_refused(values):
    with pytest.raises(ValueError, match=r"curves\['plain'\] must be numbers by epoch"):
        plot_curves({"plain": values})


def comparison(change: float, low: float, high: float, p: float) -> Comparison:
    return Comparison("ndcg@20", 0.05, 0.05 * (1 + change), change, low, high, p, 0.5, 100)


def test_changes_are_drawn_top_down_with_interval_and_p_value():
    ax = plot_comparison(
        {
            "office": comparison(0.03, 0.01, 0.04, 0.0004),
            "toys": comparison(-0.02, -0.05, 0.01, 0.13),
        }
    )

    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["office", "toys"]
    assert ax.yaxis_inverted()
    office, toys = ax.containers
    assert office.lines[0].get_xdata().tolist() == pytest.approx([3.0])
    np.testing.assert_allclose(office.lines[2][0].get_segments()[0], [[1, 0], [4, 0]])
    np.testing.assert_allclose(toys.lines[2][0].get_segments()[0], [[-5, 1], [1, 1]])
    assert [text.get_text() for text in ax.texts] == ["+3.0 %, p = 0.0004", "-2.0 %, p = 0.13"]
    assert toys.lines[0].get_markerfacecolor() == "white"  # worse is hollow


def test_an_undefined_change_keeps_its_row_and_says_so():
    ax = plot_comparison({"tiny": comparison(np.nan, np.nan, np.nan, 0.5)})

    assert [text.get_text() for text in ax.texts] == ["undefined, p = 0.5"]
    ax.figure.canvas.draw()


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="curves must hold at least one run"):
        plot_curves({})
    with pytest.raises(ValueError, match="comparisons must hold at least one"):
        plot_comparison({})


@pytest.mark.parametrize(
    ("module", "draw"),
    [
        ("matplotlib.pyplot", lambda: plot_curves({"plain": [0.1]})),
        ("matplotlib.pyplot", lambda: plot_feature_maps(*[np.eye(3)] * 2, np.arange(3))),
        ("sklearn.manifold", lambda: plot_features(*blobs([5, 9]))),
        ("sklearn.neighbors", lambda: neighbor_agreement(*blobs([5, 9]))),
    ],
)
def test_without_the_extra_the_error_names_it(monkeypatch, module, draw):
    monkeypatch.setitem(sys.modules, module, None)

    with pytest.raises(ImportError, match=r'pip install "sgfd\[viz\]"'):
        draw()
