"""Reading folders in the SGFD and the MMRec layout."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_array

from sgfd.data import Dataset

_IMAGE = np.arange(20, dtype=np.float16).reshape(5, 4) / 8
_TEXT = np.arange(15, dtype=np.float64).reshape(5, 3) / 7


def _pairs(part: csr_array) -> list[tuple[int, int]]:
    users, items = part.nonzero()
    return sorted(zip(users.tolist(), items.tolist(), strict=True))


@pytest.fixture
def sgfd(tmp_path: Path) -> Path:
    (tmp_path / "train.csv").write_text("itemID,userID\n0,0\n1,0\n2,1\n3,2\n")
    (tmp_path / "test.csv").write_text("itemID,userID\n4,0\n0,1\n")
    np.save(tmp_path / "FeatureImage_normal.npy", _IMAGE)
    np.save(tmp_path / "FeatureText_normal.npy", _TEXT)
    return tmp_path


@pytest.fixture
def mmrec(tmp_path: Path) -> Path:
    rows = ["userID\titemID\trating\ttimestamp\tx_label"]
    rows += ["0\t0\t5.0\t99\t0", "0\t1\t4.5\t98\t1", "1\t2\t1.0\t97\t0", "1\t4\t2.5\t96\t2"]
    (tmp_path / "baby.inter").write_text("\n".join(rows) + "\n")
    np.save(tmp_path / "image_feat.npy", _IMAGE)
    np.save(tmp_path / "text_feat.npy", _TEXT)
    return tmp_path


def test_the_sgfd_layout_is_read_whole(sgfd: Path) -> None:
    np.save(sgfd / "MetaData_normal.npy", np.array([2, 0, -1, 0, 3]))
    (sgfd / "label_names.json").write_text(json.dumps(["pen", "ink", "cup", "mat"]))
    (sgfd / "valid.csv").write_text("itemID,userID\n4,1\n")
    data = Dataset.load(sgfd)
    assert data.name == sgfd.name
    assert _pairs(data.train) == [(0, 0), (0, 1), (1, 2), (2, 3)]
    assert _pairs(data.valid) == [(1, 4)]
    assert _pairs(data.test) == [(0, 4), (1, 0)]
    assert data.features.keys() == {"Image", "Text"}
    np.testing.assert_array_equal(data.features["Image"], _IMAGE.astype(np.float32))
    np.testing.assert_array_equal(data.features["Text"], _TEXT.astype(np.float32))
    assert {f.dtype for f in data.features.values()} == {np.dtype("float32")}
    assert data.labels is not None
    assert data.labels.tolist() == [2, 0, -1, 0, 3]
    assert data.label_names == ("pen", "ink", "cup", "mat")


def test_columns_are_found_by_the_header_whatever_their_order(sgfd: Path) -> None:
    straight = Dataset.load(sgfd)
    (sgfd / "train.csv").write_text(
        "\ufeffuserID,time,itemID\n0,7,0\n0,8,1\n\n1,9,2\n2,5,3", "utf-8"
    )
    turned = Dataset.load(sgfd)
    assert _pairs(turned.train) == _pairs(straight.train)


@pytest.mark.parametrize(
    "rows",
    [
        ['"what, where","itemID",userID', '"Go, 3, 1, 2",0,0', '"",1,0', "a,2,1", 'b,"3","2"'],
        ["itemID,userID,review", '0,0,"a\nb ""c"" d"', "1,0,", '2,1,"\n"', "3,2,e"],
    ],
    ids=["commas", "line breaks"],
)
def test_a_quoted_cell_is_one_cell_whatever_is_in_it(sgfd: Path, rows: list[str]) -> None:
    plain = Dataset.load(sgfd)
    (sgfd / "train.csv").write_text("\n".join(rows) + "\n")
    assert _pairs(Dataset.load(sgfd).train) == _pairs(plain.train)


def test_quotes_in_a_table_with_tabs_are_letters(mmrec: Path) -> None:
    plain = Dataset.load(mmrec)
    rows = ['userID\titemID\t"title\tx_label', '0\t0\t"great\t0', "0\t1\tnice\t1"]
    rows += ['1\t2\t"ok\t0', '1\t4\tfine"\t2']
    (mmrec / "baby.inter").write_text("\n".join(rows) + "\n")
    again = Dataset.load(mmrec)
    for part in ("train", "valid", "test"):
        assert _pairs(getattr(again, part)) == _pairs(getattr(plain, part))


@pytest.mark.parametrize("rows", ['0,0,"great\n1,0,nice\n2,1,"ok\n', '0,0,ok\n1,0,"nice\n2,1,ok\n'])
def test_a_quote_that_swallows_lines_is_an_error(sgfd: Path, rows: str) -> None:
    (sgfd / "train.csv").write_text('"itemID", "userID","review"\n' + rows)
    with pytest.raises(ValueError, match="one row per line; its 3 lines hold [12] rows"):
        Dataset.load(sgfd)


def test_modalities_are_chosen_and_ordered(sgfd: Path) -> None:
    assert list(Dataset.load(sgfd, modalities=["Text", "Image"]).features) == ["Text", "Image"]
    assert Dataset.load(sgfd, modalities=["Image"]).widths == {"Image": 4}


def test_an_unknown_modality_lists_those_there_are(sgfd: Path) -> None:
    with pytest.raises(ValueError, match=r"among those in .*, Image, Text; got 'Titel'\."):
        Dataset.load(sgfd, modalities=["Image", "Titel"])
    with pytest.raises(ValueError, match=r"one or more, each once; got \['Text', 'Text'\]"):
        Dataset.load(sgfd, modalities=["Text", "Text"])
    with pytest.raises(ValueError, match=r"one or more, each once; got \[\]"):
        Dataset.load(sgfd, modalities=[])
    with pytest.raises(TypeError, match="must be a list of names; got .Text."):
        Dataset.load(sgfd, modalities="Text")


def test_labels_given_replace_those_of_the_folder(sgfd: Path) -> None:
    np.save(sgfd / "MetaData_normal.npy", np.array([0, 1, 0, 1, 0]))
    (sgfd / "label_names.json").write_text('["a", "b"]')
    data = Dataset.load(sgfd, labels=["sea", None, "sky", "sea", "sky"])
    assert data.labels is not None
    assert data.labels.tolist() == [0, -1, 1, 0, 1]
    assert data.label_names == ("sea", "sky")


def test_without_labels_there_are_none(sgfd: Path) -> None:
    data = Dataset.load(sgfd)
    assert data.labels is None
    assert data.num_classes == 0


def test_the_mmrec_layout_is_read_whole(mmrec: Path) -> None:
    data = Dataset.load(mmrec, labels=np.array([1, -1, 0, 1, 2]))
    assert _pairs(data.train) == [(0, 0), (1, 2)]
    assert _pairs(data.valid) == [(0, 1)]
    assert _pairs(data.test) == [(1, 4)]
    assert data.widths == {"image": 4, "text": 3}
    assert data.label_names == ("0", "1", "2")
    assert not any("carved" in note for note in data.notes)


def test_an_mmrec_folder_without_validation_rows_gets_a_carved_part(mmrec: Path) -> None:
    rows = [f"{user}\t{item}\t0" for user in range(3) for item in range(5)]
    rows[4] = "0\t4\t2"
    (mmrec / "baby.inter").write_text("userID\titemID\tx_label\n" + "\n".join(rows))
    data = Dataset.load(mmrec, valid_fraction=0.4, seed=2)
    assert data.valid.sum(axis=1).tolist() == [2, 2, 2]
    assert any(note.startswith("valid: 6 pairs carved from train (0.4") for note in data.notes)


def test_another_x_label_is_an_error(mmrec: Path) -> None:
    (mmrec / "baby.inter").write_text("userID\titemID\tx_label\n0\t0\t0\n0\t1\t3\n")
    with pytest.raises(
        ValueError, match=r"must be 0 \(train\), 1 \(valid\) or 2 \(test\); got \[3"
    ):
        Dataset.load(mmrec)


def test_a_folder_in_both_layouts_or_neither_is_an_error(sgfd: Path) -> None:
    (sgfd / "x.inter").write_text("userID\titemID\tx_label\n")
    with pytest.raises(
        ValueError, match=r"must hold one dataset: .* it holds .*train.csv, x.inter"
    ):
        Dataset.load(sgfd)
    empty = sgfd / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match=r"must hold one dataset: .* it holds nothing\."):
        Dataset.load(empty)
    with pytest.raises(FileNotFoundError, match="must be a folder with a dataset"):
        Dataset.load(sgfd / "absent")


def test_missing_files_are_named(sgfd: Path) -> None:
    for path in sgfd.glob("Feature*"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no features in"):
        Dataset.load(sgfd)
    (sgfd / "test.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"needs test\.csv beside train\.csv"):
        Dataset.load(sgfd)


@pytest.mark.parametrize("cell", ["1.5", "4.0", "abc", "", "99999999999999999999"])
def test_ids_that_are_no_integers_are_an_error_that_names_the_file(sgfd: Path, cell: str) -> None:
    (sgfd / "train.csv").write_text(f"itemID,userID\n0,0\n{cell},0\n")
    with pytest.raises(
        ValueError, match=r"train\.csv must hold integers in userID, itemID; .*row 1"
    ):
        Dataset.load(sgfd)


def test_a_file_without_its_header_is_an_error(sgfd: Path) -> None:
    (sgfd / "test.csv").write_text("4,0\n0,1\n")
    with pytest.raises(ValueError, match=r"must name the columns userID, itemID, each once"):
        Dataset.load(sgfd)


def test_an_empty_part_is_read_as_empty(sgfd: Path) -> None:
    (sgfd / "test.csv").write_text("itemID,userID\n")
    data = Dataset.load(sgfd)
    assert data.test.nnz == 0
    assert data.num_users == 3
    (sgfd / "train.csv").write_text("itemID,userID")
    with pytest.raises(ValueError, match="train must hold at least one pair; got none"):
        Dataset.load(sgfd)


@pytest.mark.parametrize(
    "write",
    [
        lambda path: np.save(path, np.array([{}], dtype=object), allow_pickle=True),
        lambda path: path.write_bytes(pickle.dumps([1.0, 2.0])),
        lambda path: path.write_bytes(b""),
    ],
    ids=["object array", "pickle", "empty"],
)
def test_nothing_is_unpickled(sgfd: Path, write: Callable[[Path], object]) -> None:
    write(sgfd / "FeatureText_normal.npy")
    with pytest.raises(ValueError, match=r"FeatureText_normal\.npy must be a plain NumPy array"):
        Dataset.load(sgfd)


def test_label_names_must_be_a_list_of_strings(sgfd: Path) -> None:
    np.save(sgfd / "MetaData_normal.npy", np.array([0, 1, 0, 1, 0]))
    (sgfd / "label_names.json").write_text('{"0": "a"}')
    with pytest.raises(ValueError, match="must be a list of strings"):
        Dataset.load(sgfd)
