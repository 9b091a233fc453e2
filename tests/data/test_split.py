"""Holding out a share of each user's interactions."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array

from sgfd.data import hold_out


def _with_counts(counts: list[int]) -> csr_array:
    dense = np.zeros((len(counts), max(counts, default=0) + 3), dtype=np.float32)
    for user, count in enumerate(counts):
        dense[user, :count] = 1
    return csr_array(dense)


@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=20),
    percent=st.integers(0, 99),
    seed=st.integers(0, 1000),
)
def test_every_user_gives_its_share_rounded_half_up_and_keeps_one(
    counts: list[int], percent: int, seed: int
) -> None:
    whole = _with_counts(counts)
    kept, held = hold_out(whole, fraction=percent / 100, seed=seed)
    # Exact rational arithmetic, where floats may fall short of a half.
    share = [floor(Fraction(percent, 100) * n + Fraction(1, 2)) for n in counts]
    expected = [min(s, max(n - 1, 0)) for s, n in zip(share, counts, strict=True)]
    assert held.sum(axis=1).tolist() == expected
    assert kept.multiply(held).nnz == 0
    assert (kept + held - whole).count_nonzero() == 0
    assert kept.shape == held.shape == whole.shape
    assert kept.has_canonical_format
    assert held.dtype == np.float32


def test_ten_percent_starts_at_five_interactions() -> None:
    _, held = hold_out(_with_counts([1, 4, 5, 14, 15]), fraction=0.1, seed=3)
    assert held.sum(axis=1).tolist() == [0, 0, 1, 1, 2]


def test_the_same_seed_gives_the_same_split_and_another_seed_another() -> None:
    whole = _with_counts([40, 25, 33])
    first, again, other = (hold_out(whole, fraction=0.3, seed=s)[1] for s in (5, 5, 6))
    assert (first != again).nnz == 0
    assert (first != other).nnz > 0


def test_every_interaction_is_equally_likely_to_be_held() -> None:
    whole = _with_counts([10])
    times = sum(hold_out(whole, fraction=0.3, seed=seed)[1].toarray() for seed in range(2000))
    # Binomial(2000, 0.3): standard deviation 20.5; five of them.
    assert np.abs(np.asarray(times)[0, :10] - 600).max() < 103


def test_stored_zeros_are_not_interactions() -> None:
    whole = csr_array((np.array([1.0, 0.0, 1.0]), np.array([0, 1, 2]), np.array([0, 3])))
    kept, held = hold_out(whole, fraction=0.5, seed=0)
    assert kept.nnz == held.nnz == 1
    assert kept[0, 1] == held[0, 1] == 0


def test_a_repeat_does_not_end_up_on_both_sides() -> None:
    items = np.array([2, 0, 2, 2, 1, 2])
    whole = csr_array((np.ones(6), items, np.array([0, 6])), shape=(1, 4))
    kept, held = hold_out(whole, fraction=0.5, seed=1)
    assert (kept + held).toarray().tolist() == [[1, 1, 1, 0]]
    assert whole.nnz == 6  # the argument is left as it came


def test_the_order_in_which_entries_are_stored_does_not_matter() -> None:
    users, items = _with_counts([9, 4, 12]).nonzero()
    order = np.random.default_rng(4).permutation(users.size)
    shuffled = coo_array((np.ones(users.size), (users[order], items[order])), shape=(3, 15))
    expected = hold_out(_with_counts([9, 4, 12]), fraction=0.4, seed=8)
    for left, right in zip(hold_out(shuffled, fraction=0.4, seed=8), expected, strict=True):
        assert (left != right).nnz == 0


@pytest.mark.parametrize("fraction", [-0.1, 1.0])
def test_a_fraction_outside_zero_to_one_is_an_error(fraction: float) -> None:
    with pytest.raises(ValueError, match="fraction must be at least 0 and below 1; got"):
        hold_out(_with_counts([3]), fraction=fraction, seed=0)


def test_a_half_is_rounded_up_even_where_the_product_falls_just_short():
    # 0.29 * 50 is 14.499999999999998 in binary, and 14.5 on paper.
    assert 0.29 * 50 < 14.5
    kept, held = hold_out(csr_array(np.ones((1, 50))), fraction=0.29, seed=0)
    assert (kept.nnz, held.nnz) == (35, 15)
