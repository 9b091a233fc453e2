"""What the pictures of losses, teachers and neighbors say, read back from the Axes."""

import sys
from collections.abc import Iterator

import matplotlib as mpl
import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from sgfd import SemanticTeacher
from sgfd.plots import (
    ClassAccuracy,
    class_accuracy,
    plot_class_accuracy,
    plot_neighbors,
    plot_terms,
)

mpl.use("Agg")


@pytest.fixture(autouse=True)
def closed_figures() -> Iterator[None]:
    import matplotlib.pyplot as plt

    yield
    plt.close("all")


def legend_texts(ax) -> list[str]:
    return [text.get_text() for text in ax.get_legend().get_texts()]


def epochs(**terms) -> list[dict[str, float]]:
    return [dict(zip(terms, values, strict=True)) for values in zip(*terms.values(), strict=True)]


def test_terms_run_by_epoch_and_are_named_in_the_order_of_their_last_values():
    given = {"total": [3.0, 2.0, 1.5], "feature": [0.5, 0.25, 0.125], "response": [0.01, 0.5, 0.75]}

    ax = plot_terms(epochs(**given))

    assert legend_texts(ax) == [
        "total: 3 to 1.5",
        "response: 0.01 to 0.75",
        "feature: 0.5 to 0.125",
    ]
    for line in ax.get_lines():
        assert line.get_xdata().tolist() == [1, 2, 3]
        assert line.get_ydata().tolist() == given[line.get_label().split(":")[0]]
    assert ax.get_yscale() == "log"
    styles = {(line.get_linestyle(), line.get_marker()) for line in ax.get_lines()}
    assert len(styles) == 3  # told apart without color


def test_a_term_of_zeros_is_named_and_not_drawn():
    ax = plot_terms(epochs(total=[1.0, 0.5], fusion=[0.0, 0.0]))

    assert legend_texts(ax) == ["total: 1 to 0.5", "fusion: 0 throughout"]
    total, fusion = ax.get_lines()
    assert len(total.get_xdata()) == 2
    assert len(fusion.get_xdata()) == 0
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize("last", [0.0, -0.5])
def test_a_term_that_reaches_zero_is_drawn_on_a_linear_axis(last):
    ax = plot_terms(epochs(total=[1.0, last]))

    assert ax.get_yscale() == "linear"
    assert ax.get_lines()[0].get_ydata().tolist() == [1.0, last]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one epoch"),
        ([{"total": 1.0}, {"loss": 1.0}], r"epoch 2 has \['loss'\]"),
        ([{"total": 1.0, "feature": np.nan}], "'feature' is not in every epoch"),
    ],
)
def test_terms_that_do_not_make_curves_are_refused(given, message):
    with pytest.raises(ValueError, match=message):
        plot_terms(given)


def teacher_and_items(*, fusion: bool | None = None):
    torch.manual_seed(3)
    teacher = SemanticTeacher({"image": 6, "text": 4}, 5, num_classes=4, fusion=fusion)
    rng = np.random.default_rng(3)
    features = {
        "image": rng.normal(size=(30, 6)).astype(np.float32),
        "text": rng.normal(size=(30, 4)).astype(np.float32),
    }
    return teacher, features, rng.integers(-1, 3, size=30)


def test_class_accuracy_counts_item_by_item_who_is_right(monkeypatch):
    teacher, features, labels = teacher_and_items()
    features["image"][[2, 5, 7, 11]] = np.nan
    lacks_text = np.isin(np.arange(30), [5, 9, 14])
    monkeypatch.setattr("sgfd.plots._accuracy._ROWS", 7)

    found = class_accuracy(teacher, features, labels, missing={"text": lacks_text})

    right = {name: [0] * 4 for name in ("image", "text", "fused")}
    counts = {name: [0] * 4 for name in right}
    for i in np.flatnonzero(labels >= 0):
        present = {
            "image": torch.tensor([not np.isnan(features["image"][i, 0])]),
            "text": torch.tensor([not lacks_text[i]]),
        }
        said = teacher({m: torch.from_numpy(x[[i]]) for m, x in features.items()}, present)
        answers = said.logits | {"fused": said.fused_logits}
        asked = present | {"fused": present["image"] | present["text"]}
        for name in right:
            if asked[name]:
                counts[name][labels[i]] += 1
                right[name][labels[i]] += int(answers[name].argmax() == labels[i])
    assert {name: x.tolist() for name, x in found.right.items()} == right
    assert {name: x.tolist() for name, x in found.counts.items()} == counts
    assert 0 < sum(right["fused"]) < sum(counts["fused"]) < (labels >= 0).sum()  # of all kinds
    shares = found.shares()["text"]
    np.testing.assert_allclose(shares[:3], np.divide(right["text"][:3], counts["text"][:3]))
    assert np.isnan(shares[3])  # a class without an item


def test_class_accuracy_leaves_the_teacher_in_its_mode_and_asks_no_fusion_where_there_is_none():
    teacher, features, labels = teacher_and_items(fusion=False)

    found = class_accuracy(teacher.train(), features, torch.from_numpy(labels))

    assert teacher.training
    assert list(found.right) == ["image", "text"]


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"teacher": torch.nn.Linear(2, 2)}, TypeError, "SemanticTeacher; got Linear"),
        ({"features": {"image": np.zeros((30, 6))}}, ValueError, "exactly the teacher's"),
        ({"labels": np.zeros((30, 4), int)}, ValueError, r"one integer .* got shape \(30, 4\)"),
        ({"labels": np.zeros(30)}, ValueError, "of torch.float64"),
        ({"labels": np.full(30, 4)}, ValueError, "below the teacher's 4 classes; got 4"),
        ({"labels": np.zeros(29, int)}, ValueError, r"one row per item \(29\); got 30 rows"),
    ],
)
def test_what_a_teacher_cannot_be_asked_is_refused(change, error, message):
    teacher, features, labels = teacher_and_items()
    arguments = {"teacher": teacher, "features": features, "labels": labels} | change

    with pytest.raises(error, match=message):
        class_accuracy(**arguments)


def test_classes_are_drawn_by_size_with_their_items_and_the_shares_of_each_reader():
    found = ClassAccuracy(
        {"image": np.array([1, 0, 6, 0]), "fused": np.array([2, 0, 7, 1])},
        {"image": np.array([2, 0, 8, 0]), "fused": np.array([4, 0, 8, 2])},
    )

    ax = plot_class_accuracy(found, label_names=["tea", "none", "cup", "pot"])

    names = [tick.get_text() for tick in ax.get_yticklabels()]
    assert names == ["cup (8)", "tea (4)", "pot (2)"]
    assert ax.yaxis_inverted()
    image, fused = ax.get_lines()
    np.testing.assert_array_equal(image.get_xdata(), [0.75, 0.5, np.nan])
    np.testing.assert_array_equal(fused.get_xdata(), [0.875, 0.5, 0.5])
    assert legend_texts(ax) == ["image: 0.70 of 10 items", "fused: 0.71 of 14 items"]
    assert image.get_marker() != fused.get_marker()
    assert (np.abs(np.stack([image.get_ydata(), fused.get_ydata()]) - [0, 1, 2]) < 0.5).all()


def test_classes_beyond_the_most_are_counted_below():
    found = ClassAccuracy({"text": np.array([1, 2, 3])}, {"text": np.array([4, 6, 5])})

    ax = plot_class_accuracy(found, max_classes=2)

    assert [tick.get_text() for tick in ax.get_yticklabels()] == ["1 (6)", "2 (5)"]
    assert ax.get_xlabel().endswith("\n1 smaller classes are not drawn")
    assert legend_texts(ax) == ["text: 0.40 of 15 items"]  # of all classes


def test_classes_without_items_or_names_are_refused():
    empty = ClassAccuracy({"text": np.array([0, 0])}, {"text": np.array([0, 0])})
    with pytest.raises(ValueError, match="At least one class must have an item"):
        plot_class_accuracy(empty)
    found = ClassAccuracy({"text": np.array([0, 1])}, {"text": np.array([0, 1])})
    with pytest.raises(ValueError, match="got 1 names and label 1"):
        plot_class_accuracy(found, label_names=["tea"])


def spaces(num_items: int = 25) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(5)
    labels = rng.integers(-1, 3, size=num_items)
    labels[4] = 1
    return rng.normal(size=(num_items, 6)), rng.normal(size=(num_items, 3)), labels


def test_neighbors_are_the_nearest_others_by_cosine_with_their_labels():
    before, after, labels = spaces()

    ax = plot_neighbors(before, torch.from_numpy(after), labels, 4, neighbors=6)

    texts = [text.get_text() for text in ax.texts]
    for features, title, found in (
        (before, "before", texts[:7]),
        (after, "after", texts[7:]),
    ):
        oracle = NearestNeighbors(n_neighbors=7, metric="cosine").fit(features)
        distances, nearest = (x[0, 1:] for x in oracle.kneighbors(features[[4]]))
        same = (labels[nearest] == 1).sum()
        assert found[0] == f"{title}: {same} of 6 share its label"
        for said, index, distance in zip(found[1:], nearest, distances, strict=True):
            label = "unknown" if labels[index] < 0 else labels[index]
            parts = [f"{index} ({label})", f"{1 - distance:.2f}"]
            assert said == "  ".join(parts if title == "before" else parts[::-1])
    assert ax.get_title() == "nearest to 4 (1)"


def test_a_line_joins_the_neighbors_that_stay_and_markers_tell_the_labels():
    features = np.array([[1, 0], [1, 0.1], [1, 0.3], [1, 0.9], [0.1, 1]])
    moved = np.array([[1, 0], [1, 0.5], [1, 0.2], [0, 1], [1, 0.1]])

    ax = plot_neighbors(features, moved, [2, 2, 0, -1, 2], 0, neighbors=3)

    joined = [line.get_ydata() for line in ax.get_lines() if len(line.get_xdata()) == 2]
    assert sorted(map(tuple, joined)) == [(0, 2), (1, 1)]  # item 1 falls back, item 2 stays
    markers = [line.get_marker() for line in ax.get_lines() if len(line.get_xdata()) == 1]
    assert markers == ["o", "s", "x", "o", "s", "o"]
    assert legend_texts(ax) == ["the same label", "another label", "unknown"]


def test_names_are_cut_and_dollars_are_no_formulas():
    before, after, labels = spaces()
    names = [f"$ {i} and $ {'x' * 60}" for i in range(25)]

    ax = plot_neighbors(
        before, after, np.maximum(labels, 0), 4, label_names=["a$", "b$", "c"], item_names=names
    )

    ax.figure.canvas.draw()
    assert all("…" in text.get_text() for text in ax.texts if "share" not in text.get_text())
    assert r"\$ 4 and \$" in ax.get_title()


def test_neighbors_of_an_item_without_a_label_share_none():
    before, after, labels = spaces()
    labels[4] = -1

    ax = plot_neighbors(before, after, labels, 4, titles=("plain", "distilled"))

    assert [ax.texts[0].get_text(), ax.texts[9].get_text()] == ["plain", "distilled"]
    assert legend_texts(ax) == ["unknown"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"item": 25}, r"item must be in 0\.\.24"),
        ({"item": -1}, "item"),
        ({"neighbors": 25}, r"neighbors in 1\.\.24; got 4 and 25"),
        ({"item_names": ["a"]}, r"name every item \(25\); got 1"),
        ({"label_names": ["a"]}, "got 1 names and label 2"),
        ({"before": np.zeros((25, 2))}, "item 4 has features of zeros"),
        ({"after": np.zeros((24, 2))}, r"row of after, \(24,\); got \(25,\)"),
        ({"after": np.full((25, 2), np.nan)}, "after must be finite numbers; row 0"),
    ],
)
def test_neighbors_that_there_are_not_are_refused(change, message):
    before, after, labels = spaces()
    arguments = {"before": before, "after": after, "labels": labels, "item": 4} | change

    with pytest.raises(ValueError, match=message):
        plot_neighbors(**arguments)


def test_pictures_are_drawn_on_the_axes_given():
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(3)
    found = ClassAccuracy({"text": np.array([1])}, {"text": np.array([2])})

    assert plot_terms(epochs(total=[1.0]), ax=axes[0]) is axes[0]
    assert plot_class_accuracy(found, ax=axes[1]) is axes[1]
    assert plot_neighbors(*spaces(), 4, ax=axes[2]) is axes[2]
    assert plt.get_fignums() == [figure.number]


@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_terms(epochs(total=[1.0])),
        lambda: plot_class_accuracy(ClassAccuracy({"a": np.array([1])}, {"a": np.array([2])})),
        lambda: plot_neighbors(*spaces(), 4),
    ],
)
def test_without_the_extra_the_error_names_it(monkeypatch, draw):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)

    with pytest.raises(ImportError, match=r'pip install "sgfd\[viz\]"'):
        draw()
