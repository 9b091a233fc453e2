import numpy as np
import pytest
import torch

from sgfd import encode_labels
from sgfd._labels import class_indices


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


def test_no_known_label_is_an_error():
    with pytest.raises(ValueError, match="At least one label must be known; got 2 unknown ones"):
        encode_labels([None, ""])
