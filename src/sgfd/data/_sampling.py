"""Training batches: shuffled pairs with uniform negatives, reproducible from any position."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array

from sgfd._batch import Batch
from sgfd._checks import check_integer, check_sparse


class PairSampler:
    """Makes the batches of an epoch from the training interactions.

    Each epoch visits every interaction once, in a fresh random order; the last batch may be
    smaller. For each, ``num_negatives`` items are drawn uniformly and independently (so repeats
    can occur) from those the user has no interaction with in ``train``; items of the validation
    and test parts can be drawn, as they are unknown while training.

    A batch depends on (seed, epoch, batch index) only, through ``numpy.random.SeedSequence``:
    ``epoch(e, start=s)`` continues an interrupted epoch with exactly the batches it still owed.
    The sampler has no other state and never touches NumPy's or torch's global generators. The
    numbers are reproducible under one version of NumPy.

    A negative costs one binary search and no rejection, however much of the catalog a user has
    seen: for a user with seen items s_0 < s_1 < ... (n in all) draw a rank r uniformly from
    [0, num_items - n). The r-th unseen item is r + #{j : s_j - j <= r}, since s_j - j unseen
    items come before s_j.

    Args:
        train: (num_users, num_items), its nonzero entries the interactions.
        batch_size: interactions per batch.
        num_negatives: negatives per interaction; 0 gives negatives of shape (B, 0).
        seed: 0 or more.

    Raises:
        TypeError: if ``train`` is not sparse.
        ValueError: if ``train`` is empty, ``batch_size`` < 1, ``num_negatives`` or ``seed`` < 0,
            or negatives are asked for and a user has seen every item.

    Example:
        >>> from sgfd.data import PairSampler
        >>> import numpy as np
        >>> from scipy.sparse import csr_array
        >>> sampler = PairSampler(csr_array(np.eye(5)), batch_size=2, num_negatives=3, seed=0)
        >>> [tuple(batch.negatives.shape) for batch in sampler.epoch(0)]
        [(2, 3), (2, 3), (1, 3)]
        >>> whole, resumed = list(sampler.epoch(7)), list(sampler.epoch(7, start=2))
        >>> len(resumed), bool((resumed[0].negatives == whole[2].negatives).all())
        (1, True)
    """

    def __init__(
        self, train: csr_array, *, batch_size: int, num_negatives: int = 1, seed: int = 0
    ) -> None:
        check_sparse("train", train)
        # Python's integers, since narrow ones of NumPy's overflow.
        self._batch_size = check_integer("batch_size", batch_size, at_least=1)
        self._num_negatives = check_integer("num_negatives", num_negatives, at_least=0)
        self._seed = check_integer("seed", seed, at_least=0)
        num_users, self._num_items = train.shape
        coo = train.tocoo()
        there = coo.data != 0
        users, items = coo.row[there].astype(np.int64), coo.col[there].astype(np.int64)
        # Sorted by user, then item, each pair once, whatever the state of the matrix given.
        keys = np.sort(users * self._num_items + items)
        keys = keys[np.diff(keys, prepend=-1) > 0]
        if keys.size == 0:
            raise ValueError("train must hold at least one interaction; got none.")
        self._users, self._items = np.divmod(keys, self._num_items)
        counts = np.bincount(self._users, minlength=num_users)
        self._starts = np.cumsum(counts) - counts
        self._num_unseen = self._num_items - counts
        if num_negatives and (full := np.flatnonzero(self._num_unseen == 0)).size:
            raise ValueError(
                "each user must leave at least one item unseen, or it has no negative; "
                f"{full.size:,} users have seen all {self._num_items}, such as user {full[0]}. "
                "Drop them from train, or use num_negatives=0."
            )
        unseen_before = self._items - (np.arange(keys.size) - self._starts[self._users])
        self._unseen_before = self._users * self._num_items + unseen_before

    @property
    def num_batches(self) -> int:
        """Batches in an epoch, the last, smaller one counted."""
        return -(-self._users.size // self._batch_size)

    def epoch(self, epoch: int, *, start: int = 0) -> Iterator[Batch]:
        """Yields the batches of an epoch from batch ``start`` on.

        Args:
            epoch: 0 or more.
            start: the first batch to yield, 0 <= start <= num_batches.

        Returns:
            Batches of int64 tensors on the CPU.

        Raises:
            ValueError: at the call, if ``epoch`` or ``start`` is out of range.
        """
        check_integer("epoch", epoch, at_least=0)
        check_integer("start", start, at_least=0, below=self.num_batches + 1)
        return self._batches(epoch, start)

    def _batches(self, epoch: int, start: int) -> Iterator[Batch]:
        order = self._generator(epoch).permutation(self._users.size)
        for index in range(start, self.num_batches):
            chosen = order[index * self._batch_size : (index + 1) * self._batch_size]
            users = self._users[chosen]
            negatives = self._negatives(users, self._generator(epoch, index))
            yield Batch(
                torch.from_numpy(users),
                torch.from_numpy(self._items[chosen]),
                torch.from_numpy(negatives),
            )

    def _negatives(
        self, users: npt.NDArray[np.int64], generator: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        users = users[:, None]
        shape = (users.size, self._num_negatives)
        rank = generator.integers(0, self._num_unseen[users], size=shape)
        found = np.searchsorted(self._unseen_before, users * self._num_items + rank, side="right")
        negatives: npt.NDArray[np.int64] = rank + found - self._starts[users]
        return negatives

    def _generator(self, *position: int) -> np.random.Generator:
        # (epoch,) shuffles, (epoch, batch) draws negatives: spawn keys never collide.
        return np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=position))
