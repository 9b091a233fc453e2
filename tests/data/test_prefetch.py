"""Rows of memory maps that are read ahead are the rows that would have been read."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from sgfd import distill
from sgfd._features import FeatureTable
from sgfd.backbones import BM3, MAML, VBPR
from sgfd.data import PairSampler, prefetched, synthetic_catalog

READERS = [BM3, MAML, VBPR]
DTYPES = [np.float16, np.float32]


@pytest.fixture(scope="module")
def data():
    return synthetic_catalog(
        num_users=40, num_items=60, num_classes=3, interactions_per_user=9, widths={"a": 9, "b": 4}
    )


@pytest.fixture
def maps(data, tmp_path):
    def save(dtype=np.float16):
        for m, x in data.features.items():
            np.save(tmp_path / f"{m}.npy", x.astype(dtype))
        return {m: np.load(tmp_path / f"{m}.npy", mmap_mode="r") for m in data.features}

    return save


@pytest.fixture
def reads(monkeypatch):
    """(table, rows, thread) of every read of a map."""
    made, own = [], FeatureTable._read_map

    def read(self, rows):
        made.append((self.name, rows.tolist(), threading.current_thread().name))
        return own(self, rows)

    monkeypatch.setattr(FeatureTable, "_read_map", read)
    return made


def threads():
    return [t for t in threading.enumerate() if t.name.startswith("sgfd-prefetch")]


def sampled(data):
    return PairSampler(data.train, batch_size=64, num_negatives=2, seed=5)


def unchanged(batches, _):
    return batches


def trained(kind, data, features, through, *, distilled=True):
    """Losses and parameters after an epoch, steps with dropout and gradients among them."""
    model = kind(data.train, features, dim=6)
    if distilled:
        model = distill(model, features, data.labels)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    torch.manual_seed(7)
    losses = []
    for batch in through(sampled(data).epoch(0), model):
        optimizer.zero_grad()
        loss = model(batch)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, model.state_dict()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("distilled", [False, True])
@pytest.mark.parametrize("kind", READERS)
def test_a_step_reads_its_distinct_items_from_each_map_once(
    kind, distilled, dtype, data, maps, reads
):
    features = maps(dtype)
    model = kind(data.train, features, dim=6)
    model = distill(model, features, data.labels) if distilled else model
    batches = list(sampled(data).epoch(0))
    model(batches[0])  # the first loss also compares what the recommender reads
    reads.clear()
    for batch in batches[1:4]:
        model(batch).backward()
        rows = model.items_of(batch).unique().tolist()
        assert [(name, found) for name, found, _ in reads] == [
            (f"features['{m}']", rows) for m in ("a", "b")
        ]
        reads.clear()


@pytest.mark.parametrize("kind", READERS)
def test_a_float16_map_trains_as_its_values_in_float32_do(kind, data, maps):
    features = maps(np.float16)
    whole = {m: torch.from_numpy(x.astype(np.float32)) for m, x in features.items()}
    mapped, in_memory = (trained(kind, data, x, unchanged) for x in (features, whole))
    torch.testing.assert_close(mapped, in_memory, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("depth", [1, 3, 1000])
@pytest.mark.parametrize("kind", READERS)
def test_training_is_the_same_to_the_bit(kind, depth, data, maps):
    features = maps()
    plain = trained(kind, data, features, unchanged)
    ahead = trained(
        kind, data, features, lambda batches, model: prefetched(batches, model, depth=depth)
    )
    torch.testing.assert_close(ahead, plain, rtol=0, atol=0)


@pytest.mark.parametrize("distilled", [False, True])
def test_the_thread_reads_all_rows_and_the_loss_none(distilled, data, maps, reads):
    features = maps()
    model = VBPR(data.train, features, dim=6)
    model = distill(model, features, data.labels) if distilled else model
    model(next(sampled(data).epoch(0)))
    reads.clear()
    for batch in prefetched(sampled(data).epoch(0), model):
        model(batch)
    assert len(reads) == 2 * sampled(data).num_batches
    assert all(thread.startswith("sgfd-prefetch") for _, _, thread in reads)


def test_batches_are_the_samplers_own_in_their_order(data, maps):
    model = VBPR(data.train, maps(), dim=6)
    plain = list(sampled(data).epoch(3, start=1))
    ahead = list(prefetched(sampled(data).epoch(3, start=1), model, depth=2))
    torch.testing.assert_close(ahead, plain, rtol=0, atol=0)


def test_rows_that_were_not_announced_are_read_as_ever(data, maps):
    features = maps()
    model = VBPR(data.train, features, dim=6)
    table = model.features["a"]
    for batch in prefetched(sampled(data).epoch(0), model):
        others = torch.tensor([7, 1])
        assert torch.equal(table(others), torch.from_numpy(np.array(features["a"]))[others])
        rows = model.items_of(batch).unique()
        held = table(rows, torch.float32)
        assert torch.equal(table(rows, torch.float64), held.double())
        held.zero_()  # what was changed in place is not given out again
        assert table(rows, torch.float32).any()


@pytest.mark.parametrize("leave", ["break", "error", "end", "close"])
def test_no_thread_and_no_rows_stay(leave, data, maps):
    model = VBPR(data.train, maps(), dim=6)
    batches = prefetched(sampled(data).epoch(0), model, depth=2)
    assert threads() == []  # nothing before the first batch
    next(batches)
    assert len(threads()) == 1
    if leave == "end":
        list(batches)
    elif leave == "close":
        batches.close()
    else:
        with pytest.raises(KeyError):
            _left(batches, leave)
    del batches
    assert threads() == []
    assert all(model.features[m]._ahead is None for m in "ab")


def _left(batches, leave):
    for _ in batches:
        if leave == "break":
            break
        raise KeyError
    del batches
    raise KeyError


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_reading_raises_comes_with_the_batch(bad, data, maps, tmp_path):
    features = maps()
    sampler = PairSampler(data.train, batch_size=4, num_negatives=0, seed=5)
    first, second, third = (b.items.tolist() for b in list(sampler.epoch(0))[:3])
    item = next(i for i in third if i not in first + second)
    broken = np.array(features["a"])
    broken[item, 3] = bad
    np.save(tmp_path / "broken.npy", broken)
    features["a"] = np.load(tmp_path / "broken.npy", mmap_mode="r")
    batches = prefetched(sampler.epoch(0), BM3(data.train, features, dim=6), depth=2)
    next(batches), next(batches)
    with pytest.raises(ValueError, match=r"features\['a'\] must be finite; 1 of the rows"):
        next(batches)
    assert threads() == []


def test_what_the_batches_raise_comes_to_the_caller(data, maps):
    def failing():
        yield from list(sampled(data).epoch(0))[:2]
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        list(prefetched(failing(), VBPR(data.train, maps(), dim=6)))
    assert threads() == []


def test_features_in_memory_need_no_thread(data):
    batches = prefetched(sampled(data).epoch(0), VBPR(data.train, data.features, dim=6))
    next(batches)
    assert threads() == []


def test_a_strangers_items_are_named(data, maps, reads):
    class Stranger(nn.Module):
        def __init__(self):
            super().__init__()
            self.text = nn.Linear(4, 3)

        def loss(self, items):
            return self.text(torch.ones(1, 4)).sum() + items.sum()

    features = {"b": maps()["b"]}
    model = distill(
        Stranger(), features, data.labels, loss_method="loss", items=lambda items: items
    )
    batches = [torch.tensor([3, 1, 3]), torch.tensor([2])]
    for named in ({}, {"items": lambda items: items + 1}):
        reads.clear()
        for items in prefetched(iter(batches), model, **named):
            model.distillation_loss(items)
        ahead = [rows for _, rows, thread in reads if thread.startswith("sgfd-prefetch")]
        assert ahead == ([[2, 4], [3]] if named else [[1, 3], [2]])
    with pytest.raises(TypeError, match=r"needs model.items_of\(batch\).*or items="):
        prefetched(batches, Stranger())
