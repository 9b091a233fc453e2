"""Batches of pairs with negatives."""

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array
from scipy.stats import chisquare

from sgfd._batch import Batch
from sgfd.data import PairSampler


def _random(seed: int, shape: tuple[int, int], density: float) -> csr_array:
    dense = np.random.default_rng(seed).random(shape) < density
    dense[np.arange(shape[0]), np.arange(shape[0]) % shape[1]] = True
    dense[dense.all(axis=1), 0] = False
    return csr_array(dense.astype(np.float32))


def _same(left: list[Batch], right: list[Batch]) -> bool:
    return len(left) == len(right) and all(
        torch.equal(a, b)
        for x, y in zip(left, right, strict=True)
        for a, b in zip(x, y, strict=True)
    )


@given(
    seed=st.integers(0, 2**40),
    users=st.integers(1, 12),
    items=st.integers(3, 9),
    density=st.floats(0, 1),
    batch_size=st.integers(1, 20),
    num_negatives=st.integers(0, 4),
)
def test_an_epoch_is_every_pair_once_with_unseen_negatives(
    seed: int, users: int, items: int, density: float, batch_size: int, num_negatives: int
) -> None:
    train = _random(seed, (users, items), density)
    sampler = PairSampler(train, batch_size=batch_size, num_negatives=num_negatives, seed=seed)
    batches = list(sampler.epoch(2))
    assert len(batches) == sampler.num_batches == -(-train.nnz // batch_size)
    assert [len(b.users) for b in batches[:-1]] == [batch_size] * (len(batches) - 1)
    seen = set(zip(*(x.tolist() for x in train.nonzero()), strict=True))
    visited = Counter(
        pair for b in batches for pair in zip(b.users.tolist(), b.items.tolist(), strict=True)
    )
    assert visited == Counter(seen)
    for batch in batches:
        assert isinstance(batch, Batch)
        assert batch.negatives.shape == (len(batch.users), num_negatives)
        assert {x.dtype for x in batch} == {torch.int64}
        for user, drawn in zip(batch.users.tolist(), batch.negatives.tolist(), strict=True):
            assert all(0 <= item < items and (user, item) not in seen for item in drawn)


def test_any_start_continues_as_the_uninterrupted_epoch() -> None:
    train = _random(1, (30, 17), 0.4)
    whole = list(PairSampler(train, batch_size=7, num_negatives=3, seed=11).epoch(4))
    for start in range(len(whole) + 1):
        fresh = PairSampler(train, batch_size=7, num_negatives=3, seed=11)
        assert _same(list(fresh.epoch(4, start=start)), whole[start:])


def test_seed_and_epoch_change_pairs_and_negatives_and_nothing_else_does() -> None:
    train = _random(2, (30, 17), 0.4)
    sampler = PairSampler(train, batch_size=16, num_negatives=2, seed=11)
    first = list(sampler.epoch(0))
    torch.manual_seed(5)
    assert _same(first, list(sampler.epoch(0)))
    assert not _same(first, list(sampler.epoch(1)))
    assert not _same(
        first, list(PairSampler(train, batch_size=16, num_negatives=2, seed=12).epoch(0))
    )
    assert not torch.equal(first[0].negatives, first[1].negatives)


def test_global_generators_are_left_alone() -> None:
    sampler = PairSampler(_random(3, (9, 9), 0.3), batch_size=4, num_negatives=2, seed=1)
    before = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    list(sampler.epoch(0))
    after = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    assert before[0] == after[0]
    assert torch.equal(before[1], after[1])


def test_negatives_are_uniform_over_each_users_unseen_items() -> None:
    dense = np.zeros((3, 12), dtype=np.float32)
    dense[0, [0, 5]] = 1  # at the edge and inside
    dense[1, [1, 2, 3, 4, 6, 7, 8, 9, 11]] = 1  # nearly all
    dense[2, [10, 11]] = 1  # the last ones
    sampler = PairSampler(csr_array(dense), batch_size=5, num_negatives=4000, seed=7)
    drawn = np.zeros((3, 12))
    for batch in sampler.epoch(0):
        users = batch.users[:, None].expand_as(batch.negatives)
        np.add.at(drawn, (users.numpy(), batch.negatives.numpy()), 1)
    for user in range(3):
        unseen = dense[user] == 0
        assert drawn[user, ~unseen].sum() == 0
        assert chisquare(drawn[user, unseen]).pvalue > 0.001


def test_a_user_with_one_unseen_item_always_gets_it() -> None:
    dense = np.ones((2, 6), dtype=np.float32)
    dense[0, 3], dense[1, 0] = 0, 0
    sampler = PairSampler(csr_array(dense), batch_size=4, num_negatives=5, seed=0)
    for batch in sampler.epoch(0):
        expected = torch.where(batch.users == 0, 3, 0)[:, None].expand(-1, 5)
        assert torch.equal(batch.negatives, expected)


def test_unsorted_matrices_with_repeats_and_stored_zeros_are_read_right() -> None:
    rows, columns = np.array([1, 0, 1, 1, 0]), np.array([2, 3, 0, 2, 1])
    messy = coo_array((np.array([1.0, 1.0, 1.0, 1.0, 0.0]), (rows, columns)), shape=(2, 4))
    tidy = csr_array((np.ones(3), (np.array([0, 1, 1]), np.array([3, 0, 2]))), shape=(2, 4))
    sampled = [
        list(PairSampler(m, batch_size=2, num_negatives=3, seed=9).epoch(0)) for m in (messy, tidy)
    ]
    assert _same(*sampled)


def test_a_user_who_has_seen_everything_is_an_error_unless_no_negatives_are_asked_for() -> None:
    dense = np.ones((3, 4), dtype=np.float32)
    dense[[0, 2], 1] = 0
    with pytest.raises(ValueError, match=r"1 users have seen all 4, such as user 1\. Drop them"):
        PairSampler(csr_array(dense), batch_size=2, num_negatives=1)
    batches = list(PairSampler(csr_array(dense), batch_size=8, num_negatives=0).epoch(0))
    assert [tuple(b.negatives.shape) for b in batches] == [(8, 0), (2, 0)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size must be an integer of at least 1; got 0"),
        (
            {"batch_size": 2, "num_negatives": -1},
            "num_negatives must be an integer of at",
        ),
        ({"batch_size": 2, "seed": -3}, "seed must be an integer of at least 0; got -3"),
    ],
)
def test_options_out_of_range_are_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PairSampler(csr_array(np.eye(3)), **options)


def test_positions_out_of_range_are_errors_at_the_call() -> None:
    sampler = PairSampler(csr_array(np.eye(3)), batch_size=2)
    with pytest.raises(ValueError, match="start must be .* at least 0 and below 3; got 3"):
        sampler.epoch(0, start=3)
    with pytest.raises(ValueError, match="epoch must be an integer of at least 0; got -1"):
        sampler.epoch(-1)


def test_an_empty_training_part_is_an_error() -> None:
    with pytest.raises(ValueError, match="train must hold at least one interaction; got none"):
        PairSampler(csr_array((3, 4)), batch_size=2)


@pytest.mark.parametrize("kind", [np.uint64, np.int16, np.uint8])
def test_narrow_integers_of_numpys_do_not_overflow(kind: type) -> None:
    train = _random(3, (300, 40), 0.2)
    few = {"batch_size": 200, "num_negatives": 2, "seed": 5}
    sampler = PairSampler(train, **{name: kind(value) for name, value in few.items()})
    assert _same(list(sampler.epoch(1)), list(PairSampler(train, **few).epoch(1)))
