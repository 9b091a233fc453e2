"""Splitting interactions per user."""

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from sgfd._checks import check_integer, check_number, check_sparse


def hold_out(
    interactions: csr_array, *, fraction: float, seed: int | np.random.SeedSequence
) -> tuple[csr_array, csr_array]:
    """Holds out a share of each user's interactions at random.

    A user with n interactions gives up ``min(floor(fraction * n + 1/2), n - 1)`` of them, drawn
    uniformly without replacement: the share rounded half up, and at least one stays. So at a
    fraction of 0.1 users with fewer than 5 interactions give none, and those with 5 to 14 give
    one. Items are not looked at: one whose every interaction is drawn keeps none.

    Args:
        interactions: (num_users, num_items), its nonzero entries the interactions.
        fraction: the share to hold out, 0 <= fraction < 1.
        seed: the same seed gives the same split, under one version of NumPy.

    Returns:
        (kept, held): two CSR matrices of ones, float32, of the given shape, that share no entry
        and together are the interactions.

    Raises:
        TypeError: if ``interactions`` are not sparse.
        ValueError: if ``fraction`` or ``seed`` is out of range.

    Example:
        >>> from sgfd.data import hold_out
        >>> import numpy as np
        >>> from scipy.sparse import csr_array
        >>> kept, held = hold_out(csr_array(np.ones((3, 10))), fraction=0.25, seed=0)
        >>> kept.sum(axis=1).tolist(), held.sum(axis=1).tolist()
        ([7.0, 7.0, 7.0], [3.0, 3.0, 3.0])
    """
    check_sparse("interactions", interactions)
    check_number("fraction", fraction, at_least=0, below=1)
    if not isinstance(seed, np.random.SeedSequence):
        check_integer("seed", seed, at_least=0)
    matrix = csr_array(interactions, copy=True)
    matrix.sum_duplicates()  # a repeat must not end up on both sides, nor storage order matter
    coo = matrix.tocoo()
    there = coo.data != 0
    users, items = coo.row[there], coo.col[there]
    counts = np.bincount(users, minlength=interactions.shape[0])
    # The small term rounds half up where the product falls a rounding error short of a half.
    quota = np.floor(fraction * counts + 0.5 + 1e-9).astype(np.int64)
    quota = np.minimum(quota, np.maximum(counts - 1, 0))

    shuffled = np.lexsort((np.random.default_rng(seed).random(users.size), users))
    starts = np.cumsum(counts) - counts
    rank = np.arange(users.size) - np.repeat(starts, counts)
    held = np.zeros(users.size, dtype=bool)
    held[shuffled] = rank < np.repeat(quota, counts)

    def part(chosen: npt.NDArray[np.bool_]) -> csr_array:
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        return csr_array((ones, (users[chosen], items[chosen])), shape=interactions.shape)

    return part(~held), part(held)
