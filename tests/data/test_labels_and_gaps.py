"""Datasets with several labels per item, and with items that lack modalities."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from sgfd.data import Dataset
from sgfd.plots import plot_features

_IMAGE, _TEXT = np.arange(12.0).reshape(4, 3), np.arange(8.0).reshape(4, 2) - 3
_TRAIN = [(user, item) for user in range(2) for item in range(3)]
_GENRES = np.array([[1, 0, 1], [-1, -1, -1], [0, 0, 1], [0, 0, 0]])


def _make(**options: object) -> Dataset:
    given = {"features": {"image": _IMAGE, "text": _TEXT}, "valid_fraction": 0}
    return Dataset.from_arrays(_TRAIN, [(1, 3)], **{**given, **options})


@pytest.mark.parametrize("kind", [np.int8, np.float32, torch.as_tensor, np.ndarray.tolist])
def test_multi_hot_labels_come_in_any_kind(kind: object) -> None:
    labels = kind(_GENRES)  # type: ignore[operator]
    data = _make(labels=labels, label_names=["war", "art", "fun"])
    assert data.labels is not None
    assert data.labels.dtype == np.int64
    assert data.labels.tolist() == _GENRES.tolist()
    assert (data.num_classes, data.label_names) == (3, ("war", "art", "fun"))
    assert _make(labels=_GENRES).label_names == ("0", "1", "2")
    assert _make(labels=_GENRES == 1).labels.min() == 0  # type: ignore[union-attr]


def test_multi_hot_labels_are_summed_up() -> None:
    data = _make(labels=_GENRES, label_names=["war", "art", "fun"])
    assert data.summary().splitlines()[5:] == [
        "  labels    3 classes, 1.0 per item, 25.0% of items unlabeled, the largest 'fun' (66.7%)",
        "  - valid: 2 of 2 users have no valid item and are left out of its evaluation",
        "  - test: 1 of 2 users have no test item and are left out of its evaluation",
        "  - train: 0 users and 1 items occur in no training pair",
        "  - labels: 1 of 4 items have none",
        "  - labels: 1 of 4 items have a row of 0, which teaches that they are of no class; "
        "unknown is a row of -1 (or none, in a data frame)",
        "  - labels: 1 of 3 classes have no item",
    ]
    assert repr(data).endswith("image 3, text 2, 3 classes)")
    unknown = _make(labels=np.full((4, 2), -1))
    assert "  labels    2 classes, 100.0% of items unlabeled" in unknown.summary().splitlines()


@pytest.mark.parametrize(
    ("labels", "names", "message"),
    [
        (_GENRES * 2, None, "multi-hot labels .* must be 1 where .* got dtype int64 and other"),
        (_GENRES / 2, None, "got dtype float64 and other values"),
        (_GENRES.astype(str), None, "got dtype <U"),
        (_GENRES, ["war"], "label_names must name all 3 classes; got 1"),
        (_GENRES[:3], None, r"one entry per item \(4\); got \(3, 3\)"),
    ],
)
def test_multi_hot_labels_that_do_not_fit_are_errors(
    labels: object, names: object, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        _make(labels=labels, label_names=names)


def test_variants_with_multi_hot_labels_are_checked() -> None:
    data = _make(labels=_GENRES)
    assert replace(data, labels=data.labels).num_classes == 3  # type: ignore[arg-type]
    with pytest.raises(
        ValueError, match=r"labels must have one entry per item \(4\); got \(3, 3\)"
    ):
        replace(data, labels=_GENRES[:3])


def test_a_map_is_colored_by_one_label_per_item() -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(ValueError, match=r"labels must have one entry per row of features, \(4,\)"):
        plot_features(_IMAGE, _GENRES, embed=lambda x: x[:, :2])


def test_items_that_lack_a_modality_are_counted() -> None:
    image = _IMAGE.astype(np.float32)
    image[[0, 2]] = np.nan
    data = _make(features={"image": image, "text": _TEXT})
    assert "features: 2 of 4 items lack image" in data.notes
    assert "  features  image 3 (50.0% missing), text 2" in data.summary().splitlines()
    assert data.features["image"] is image  # as it came
    assert np.isnan(data.features["image"][[0, 2]]).all()


def test_a_gap_is_a_whole_row_and_not_all_rows() -> None:
    image = _IMAGE.copy()
    image[0], image[2, 1] = np.nan, np.nan
    with pytest.raises(
        ValueError, match=r"got 1 NaN or infinite values, the first in row 2, column 1.*whole row"
    ):
        _make(features={"image": image})
    with pytest.raises(
        ValueError, match="must be there for some item; all its rows are NaN. Leave"
    ):
        _make(features={"image": np.full((4, 3), np.nan)})


def test_multi_hot_rows_of_0_are_counted_as_they_are_taught():
    pairs = [(0, 0), (0, 1), (1, 2)]
    several = Dataset.from_arrays(
        pairs, [], features={"a": np.eye(3)}, labels=np.array([[1, 1], [0, 0], [-1, -1]])
    )
    assert "labels: 1 of 3 items have none" in several.notes
    assert any("1 of 3 items have a row of 0, which teaches" in note for note in several.notes)
