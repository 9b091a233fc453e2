"""Memory maps of any layout and precision are read by row, and never as a whole."""

import copy
import mmap

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from sgfd import distill
from sgfd._features import FeatureTable
from sgfd._mapped import gather, spans
from sgfd.backbones import MAML, VBPR
from sgfd.data import synthetic_catalog

PAGE = mmap.PAGESIZE


def saved(path, x, **options):
    np.save(path, x)
    return np.load(path, mmap_mode="r", **options)


@pytest.mark.parametrize("dtype", ["<f2", ">f2", "<f4", ">f8"])
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x[100:],
        lambda x: x[:, 5:],
        lambda x: x[::3],
        lambda x: x[::-1],
        lambda x: x[:, ::2],
        lambda x: x[50:].T[:40],
    ],
)
def test_rows_of_any_view_are_those_of_the_array(view, dtype, tmp_path):
    x = np.random.default_rng(2).standard_normal((900, 37)).astype(dtype)
    for array in (x, np.asfortranarray(x)):
        mapped, whole = view(saved(tmp_path / "x.npy", array)), view(array)
        rows = np.random.default_rng(3).integers(0, len(whole), 50)
        found = gather(mapped, rows)
        np.testing.assert_array_equal(found, whole[rows])
        assert not np.shares_memory(found, mapped)
        table = FeatureTable(mapped, name="x")
        native = torch.from_numpy(whole.astype(np.dtype(dtype).newbyteorder("=")))
        assert torch.equal(table(torch.from_numpy(rows)), native[torch.from_numpy(rows)])
        assert table.dtype == native.dtype


@pytest.mark.parametrize(
    "made", [lambda x: x.astype(np.float32), lambda x: x.copy(), np.nan_to_num, np.copy]
)
def test_what_is_computed_from_a_map_is_in_memory(made, tmp_path):
    mapped = saved(tmp_path / "x.npy", np.random.default_rng(3).standard_normal((9, 5)))
    assert FeatureTable(mapped[2:], name="x").mapped is not None
    table = FeatureTable(made(mapped[2:]), name="x", trainable=True)
    assert table.mapped is None
    assert torch.equal(table.values, torch.from_numpy(np.array(made(mapped[2:]))))
    broken = made(mapped)
    broken[7, 2] = np.inf
    with pytest.raises(ValueError, match="finite"):
        FeatureTable(broken, name="x")


def test_a_copy_of_a_model_reads_the_same_map(tmp_path):
    data = synthetic_catalog()
    features = {"image": saved(tmp_path / "x.npy", data.features["image"])}
    model = distill(VBPR(data.train, features, dim=4), features, data.labels)
    twin = copy.deepcopy(model)
    tables = [[m for m in x.modules() if isinstance(m, FeatureTable)] for x in (model, twin)]
    assert len(tables[0]) == len(tables[1]) > 0
    for table, other in zip(*tables, strict=True):
        assert other is not table
        assert other.mapped is table.mapped
        assert other.same_as(table)
    users = torch.tensor([3, 1])
    assert torch.equal(twin.scores(users), model.scores(users))
    in_memory = copy.deepcopy(FeatureTable(data.features["image"], name="x"))
    assert in_memory.values.data_ptr() != torch.from_numpy(data.features["image"]).data_ptr()


def test_rows_out_of_range_are_refused(tmp_path):
    mapped = saved(tmp_path / "x.npy", np.ones((4, 3), np.float32))
    with pytest.raises(IndexError, match="index 4 is out of bounds"):
        gather(mapped, np.array([0, 4]))
    assert gather(mapped, np.array([], dtype=np.int64)).shape == (0, 3)


def test_spans_cover_every_row_from_its_page_on_and_join_what_touches():
    starts = np.array([10 * PAGE + 5, 40, 9 * PAGE, 3 * PAGE - 10])
    assert spans(starts, 100) == [
        (0, 140),
        (2 * PAGE, 3 * PAGE + 90),
        (9 * PAGE, 9 * PAGE + 100),
        (10 * PAGE, 10 * PAGE + 105),
    ]
    assert spans(np.arange(1000) * 700 + 128, 700) == [(0, 128 + 700_000)]
    draw = np.random.default_rng(0)
    starts = draw.integers(0, 400 * PAGE, 60)
    covered = np.zeros(500 * PAGE, bool)
    for start, end in spans(starts, 5000):
        assert start % PAGE == 0
        assert not covered[start:end].any()
        covered[start:end] = True
    needed = np.zeros_like(covered)
    for start in starts:
        needed[start - start % PAGE : start + 5000] = True
    assert (covered >= needed).all()
    assert covered.sum() - needed.sum() <= 60 * PAGE


@pytest.fixture(scope="module")
def data():
    return synthetic_catalog(
        num_users=40, num_items=60, num_classes=3, interactions_per_user=9, widths={"a": 9, "b": 4}
    )


def both(data, folder, dtype=np.float16):
    """The same features as maps and in memory."""
    arrays = {m: x.astype(dtype) for m, x in data.features.items()}
    maps = {m: saved(folder / f"{m}.npy", x) for m, x in arrays.items()}
    return maps, {m: torch.from_numpy(x) for m, x in arrays.items()}


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("kind", [VBPR, MAML])
def test_scores_and_vectors_read_a_map_in_pieces(kind, dtype, data, tmp_path, monkeypatch):
    monkeypatch.setattr("sgfd.backbones._vbpr.CHUNK", 25)
    maps, arrays = both(data, tmp_path, dtype)
    mapped, whole = (kind(data.train, x, dim=5) for x in (maps, arrays))
    pieces, own = [], FeatureTable._read_map

    def read(self, rows):
        pieces.append(len(rows))
        return own(self, rows)

    monkeypatch.setattr(FeatureTable, "_read_map", read)
    users = torch.tensor([3, 0, 9])
    torch.testing.assert_close(mapped.scores(users), whole.scores(users))
    if kind is VBPR:
        torch.testing.assert_close(mapped.vectors(), whole.vectors())
        assert max(pieces) == 25


def test_factors_of_all_items_have_a_gradient_where_one_is_wanted(data, tmp_path):
    maps, arrays = both(data, tmp_path)
    for features in (maps, arrays):
        factors, _ = VBPR(data.train, features, dim=5).item_factors()
        assert factors.requires_grad


def test_half_precision_rows_are_cast_and_multiplied_once(data, tmp_path, monkeypatch):
    """The recommender's rows and products serve the distillation loss, as those of float32 do."""
    maps, arrays = both(data, tmp_path)
    for features in (maps, arrays):
        model = distill(VBPR(data.train, features, dim=5), features, data.labels)
        given, own = [], F.linear
        weight = model.student("a").weight

        def linear(x, w, b=None, given=given, own=own, weight=weight):
            if w is weight:
                given.append(x.dtype)
            return own(x, w, b)

        batch = tuple(torch.arange(6)[:, None][:, 0] for _ in range(2))
        with monkeypatch.context() as patch:
            patch.setattr(F, "linear", linear)
            model((*batch, torch.arange(6, 12)[:, None]))
        assert given == [torch.float32]


def test_the_mean_in_place_of_a_missing_row_is_that_of_the_table_in_memory(data, tmp_path):
    x = (np.random.default_rng(1).standard_normal((300, 5)) + 3).astype(np.float16)
    x[::7] = np.nan
    rows = torch.arange(30)
    for dtype in (None, torch.float32, torch.float64):
        mapped = FeatureTable(saved(tmp_path / "x.npy", x), name="x")
        whole = FeatureTable(x, name="x")
        assert torch.equal(mapped(rows, dtype), whole(rows, dtype))
        assert torch.equal(whole(rows, dtype), whole(rows).to(dtype or torch.float16))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_large_finite_numbers_whose_sum_is_not_are_taken(dtype, tmp_path):
    x = np.full((4, 8), np.finfo(dtype).max, dtype=dtype)
    for source in (x, saved(tmp_path / "x.npy", x)):
        assert torch.equal(FeatureTable(source, name="x")(torch.tensor([2])), torch.tensor(x[:1]))


def test_rows_beyond_two_gigabytes_may_be_int32(tmp_path):
    # A file with holes: it takes no room on the disk.
    mapped = np.memmap(tmp_path / "x", np.float32, "w+", shape=(300_000, 2048))
    mapped[299_999] = np.arange(2048)
    assert np.array_equal(gather(mapped, np.array([299_999], np.int32))[0], np.arange(2048))
