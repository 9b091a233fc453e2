import numpy as np
import pytest
import torch

from sgfd import distill, encode_labels
from sgfd._labels import class_indices
from sgfd.data import Dataset


def recommender():
    return torch.nn.ModuleDict({"image": torch.nn.Linear(3, 2)})


def test_strings_become_sorted_class_indices():
    labels, classes = encode_labels(["b", "a", None, "", "c", "b", float("nan"), np.float32("nan")])
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 0, -1, -1, 2, 1, -1, -1]
    assert classes == ("a", "b", "c")


def test_anything_with_a_name_is_a_label():
    labels, classes = encode_labels(np.array([10, -1, 2, 10]))
    assert classes == ("10", "2")
    assert labels.tolist() == [0, -1, 1, 0]


def test_missing_values_of_pandas_are_unknown():
    pd = pytest.importorskip("pandas")
    series = pd.Series(["x", None, "y"], dtype="string")
    assert encode_labels(series).labels.tolist() == [0, -1, 1]


def test_integers_stay_what_they_are_where_indices_are_taken():
    assert class_indices([10, 2, None, -1, np.int64(7)]).labels.tolist() == [10, 2, -1, -1, 7]
    assert class_indices([10, 2]).classes == ()
    assert class_indices(["b", None, "a"]).labels.tolist() == [1, -1, 0]


def test_whole_floats_are_the_integers_they_are():
    pd = pytest.importorskip("pandas")
    series = pd.Series([0, 10, 2, None])
    assert series.dtype == float
    labels, classes = class_indices(series)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [0, 10, 2, -1]
    assert classes == ()
    assert class_indices([np.float32(3), 1, -1.0, None]).labels.tolist() == [3, 1, -1, -1]
    for broken in (0.5, float("inf")):
        with pytest.raises(ValueError, match=f"must be whole.*got {broken}. If it names a class"):
            class_indices([0.0, broken])
    assert class_indices([2.0, "b"]).classes == ("2.0", "b")


def test_labels_that_say_another_order_than_their_rows_are_refused():
    pd = pytest.importorskip("pandas")
    given = pd.Series(["b", "a", "b"], index=[2, 0, 1])
    text = r"labels.* are taken by position.*of this Series is not 0\.\.2\. Pass its \.to_numpy"
    x = {"image": torch.eye(3)}
    for take in (
        encode_labels,
        lambda y: distill(recommender(), x, y),
        lambda y: distill(recommender(), x, {"one": y, "two": ["a", "b", "c"]}),
        lambda y: Dataset.from_arrays(
            [(0, 0), (0, 2)], [(0, 1)], features={"a": np.eye(3)}, labels=y
        ),
    ):
        with pytest.raises(ValueError, match=text):
            take(given)
    with pytest.raises(ValueError, match="labels are taken by position.*of this DataFrame"):
        distill(recommender(), x, pd.get_dummies(given))
    with pytest.raises(ValueError, match=r"missing\['image'\] are taken by position"):
        distill(recommender(), x, [0, 1, 1], missing={"image": given == "b"})
    assert encode_labels(given.sort_index()).labels.tolist() == [0, 1, 1]
    assert encode_labels(given.to_numpy()).labels.tolist() == [1, 0, 1]


def test_a_name_that_was_made_of_an_unknown_label_is_warned_of():
    with pytest.warns(UserWarning, match="have a class named 'nan', 2 items. If that says unknown"):
        labels, classes = encode_labels(["b", "nan", "a", "nan"])
    assert classes == ("a", "b", "nan")
    assert labels.tolist() == [1, 2, 0, 2]


def test_labels_that_must_not_be_written_to_are_read():
    pd = pytest.importorskip("pandas")
    codes = pd.Categorical(["b", "a", None]).codes
    codes.setflags(write=False)
    model = distill(recommender(), {"image": torch.eye(3)}, codes)
    assert model._labels.tolist() == [1, 0, -1]


def test_no_known_label_is_an_error():
    with pytest.raises(ValueError, match="At least one label must be known; got 2 unknown ones"):
        encode_labels([None, ""])
