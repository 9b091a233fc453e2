"""The batches of an epoch: shuffled pairs with items that their users do not have."""

import random
from collections.abc import Iterator

import numpy as np
import torch
from scipy.sparse import csr_array

from sgfd.backbones import Batch
from sgfd.data import PairSampler

from .cases import KINDS, Sizes, catalog
from .subject import Case, Subject


def sample(case: Case, sizes: Sizes) -> Subject:
    """A batch, as the mean of an epoch's."""
    train = catalog(sizes).train
    _, batch_size, negatives = KINDS[case.backbone]
    sampler = PairSampler(train, batch_size=batch_size, num_negatives=negatives, seed=0)
    python = _Python(train, batch_size, negatives)

    def ours() -> list[Batch]:
        return list(sampler.epoch(0))

    def straightforward() -> list[Batch]:
        return list(python.epoch())

    def check() -> None:
        """Both draw at random: what must be true of each."""
        for batches in (ours(), straightforward()):
            users, items, drawn = (torch.cat(part).numpy() for part in zip(*batches, strict=True))
            assert drawn.shape == (train.nnz, negatives)
            assert all(len(b.users) == batch_size for b in batches[:-1])
            keys = np.sort(users * train.shape[1] + items)
            expected = np.ravel_multi_index(train.nonzero(), train.shape)
            np.testing.assert_array_equal(keys, np.sort(expected))
            for column in drawn.T:
                assert not np.isin(users * train.shape[1] + column, keys).any()

    times = 1 / sampler.num_batches
    return Subject(ours, straightforward, check, times, times)


class _Python:
    """Pair by pair: an item at random, and another as long as the user has it."""

    def __init__(self, train: csr_array, batch_size: int, negatives: int) -> None:
        self.pairs = list(zip(*(index.tolist() for index in train.nonzero()), strict=True))
        self.items = list(range(train.shape[1]))
        self.batch_size, self.negatives = batch_size, negatives
        self.history: dict[int, set[int]] = {}
        for user, item in self.pairs:
            self.history.setdefault(user, set()).add(item)

    def epoch(self) -> Iterator[Batch]:
        random.shuffle(self.pairs)
        for start in range(0, len(self.pairs), self.batch_size):
            chosen = self.pairs[start : start + self.batch_size]
            drawn = [[self._draw(user) for _ in range(self.negatives)] for user, _ in chosen]
            users, items = zip(*chosen, strict=True)
            yield Batch(torch.tensor(users), torch.tensor(items), torch.tensor(drawn))

    def _draw(self, user: int) -> int:
        item = random.sample(self.items, 1)[0]
        while item in self.history[user]:
            item = random.sample(self.items, 1)[0]
        return item
