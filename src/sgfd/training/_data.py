"""Training batches and ranking tasks as Lightning wants them."""

from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, TypeAlias

from lightning import LightningDataModule
from scipy.sparse import csr_array

from sgfd._batch import Batch
from sgfd._checks import check_activations, check_integer
from sgfd.data import Dataset, PairSampler
from sgfd.distributed import Share, take_share

Through: TypeAlias = Callable[[Iterator[Batch]], Iterator[Batch]]


class BatchStream:
    """A sampler's batches, epoch after epoch, from a position that can be saved and set.

    An iterator goes to the end of its epoch. One that is begun after it takes the next epoch, even
    if that was left before its end; only a position that was set is gone on from midway. The
    position moves before a batch is handed out, so the state saved while that batch is trained on
    is the position of the next one.

    Args:
        sampler: makes the batches of any position.
        through: what an epoch's batches pass through, one by one and in order, such as
            ``functools.partial(sgfd.data.prefetched, model=model)``; None for nothing.

    Example:
        >>> from sgfd.training import BatchStream
        >>> import numpy as np
        >>> from scipy.sparse import csr_array
        >>> from sgfd.data import PairSampler
        >>> stream = BatchStream(PairSampler(csr_array(np.eye(4)), batch_size=1, seed=3))
        >>> batches = iter(stream)
        >>> _ = next(batches), next(batches)
        >>> stream.state_dict()
        {'epoch': 0, 'batch': 2}
        >>> stream.load_state_dict({"epoch": 0, "batch": 2})
        >>> len(list(stream)), stream.state_dict()
        (2, {'epoch': 1, 'batch': 0})
    """

    def __init__(self, sampler: PairSampler, *, through: Through | None = None) -> None:
        if not isinstance(sampler, PairSampler):
            raise TypeError(f"sampler must be a PairSampler; got {type(sampler).__qualname__}.")
        check_activations(through=through)
        self._sampler, self._through = sampler, through or iter
        self.begin(0)

    def begin(self, epoch: int, *, length: int | None = None) -> None:
        """Goes to the start of an epoch.

        Args:
            epoch: 0 or more.
            length: how many of an epoch's batches are taken, of this one and those after it, as
                by ``limit_train_batches`` of Lightning; None, or more than there are, for all.
        """
        self._epoch = check_integer("epoch", epoch, at_least=0)
        self._batch, self._left, self._length = 0, False, len(self)
        if length is not None:
            self._length = min(check_integer("length", length, at_least=1), len(self))

    def leave(self) -> None:
        """Goes to the start of the next epoch, if this one has begun."""
        if self._left:
            self._epoch, self._batch, self._left = self._epoch + 1, 0, False

    def __len__(self) -> int:
        """Batches in an epoch."""
        return self._sampler.num_batches

    def __iter__(self) -> Iterator[Batch]:
        # Lightning asks for iterators that it never uses: nothing happens before the first batch.
        self.leave()
        for batch in self._through(self._sampler.epoch(self._epoch, start=self._batch)):
            self._batch += 1
            if over := self._batch == self._length:
                self._epoch, self._batch = self._epoch + 1, 0
            self._left = not over  # unless somebody asks for more
            yield batch
            if over and self._length < len(self):
                return

    def state_dict(self) -> dict[str, int]:
        """The position of the next batch."""
        return {"epoch": self._epoch, "batch": self._batch}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes to a saved position; iterators that have begun are not moved.

        Raises:
            ValueError: for what is no position.
        """
        epoch = check_integer("state_dict['epoch']", state_dict.get("epoch"), at_least=0)
        batch = state_dict.get("batch")
        batch = check_integer("state_dict['batch']", batch, at_least=0, below=len(self))
        over = batch >= self._length  # where epochs were longer
        self._epoch, self._batch = (epoch + 1, 0) if over else (epoch, batch)
        self._left = False


class RankingTask(NamedTuple):
    """What a model is evaluated on: one for the whole part, since all-ranking has no batches.

    Attributes:
        target: (num_users, num_items), nonzero where the item is relevant.
        seen: the same shape, the items not to recommend.
    """

    target: csr_array
    seen: csr_array


class _OneTask:
    # Not a list: Lightning takes each element of a list for a loader.
    def __init__(self, target: csr_array, seen: csr_array) -> None:
        self._task = RankingTask(target, seen)

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[RankingTask]:
        yield self._task


class InteractionDataModule(LightningDataModule):
    """Batches of training pairs with sampled negatives, and the parts to evaluate on.

    The batches are those of ``sgfd.data.PairSampler``: every pair once an epoch, reshuffled each
    epoch, never a seen item as negative, and a function of (seed, epoch, batch index) only, so
    that two models trained with one seed see the same batches. They are drawn in the training
    process, vectorized: worker processes would only slow them down.

    In several processes all make the same batches, and each trains on its ``Share``.

    A checkpoint of Lightning's holds the seed and the position. A Trainer that begins takes the
    epoch it is in, from its start, whatever was drawn or set before: one data module may serve
    several.

    Args:
        dataset: trains on ``train``, validates on ``valid`` with ``train`` left out, tests on
            ``test`` with ``train`` and ``valid`` left out.
        batch_size: pairs per batch.
        num_negatives: negatives per pair; 0 for models without negative sampling.
        seed: of the order and the negatives, 0 or more.
        through: what an epoch's batches pass through (see ``BatchStream``).

    Raises:
        ValueError: if an argument is out of range or a user has seen every item.

    Example:
        >>> from sgfd.training import InteractionDataModule
        >>> from sgfd.data import synthetic_catalog
        >>> data = InteractionDataModule(synthetic_catalog(seed=0), batch_size=512, seed=1)
        >>> next(iter(data.train_dataloader())).negatives.shape
        torch.Size([512, 1])
    """

    def __init__(
        self,
        dataset: Dataset,
        *,
        batch_size: int = 2048,
        num_negatives: int = 1,
        seed: int = 0,
        through: Through | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(dataset, Dataset):
            raise TypeError(f"dataset must be a Dataset; got {type(dataset).__qualname__}.")
        sampler = PairSampler(
            dataset.train, batch_size=batch_size, num_negatives=num_negatives, seed=seed
        )
        self.dataset = dataset
        # Python's: a checkpoint with numbers of NumPy's could not be read back.
        self.batch_size, self.num_negatives = int(batch_size), int(num_negatives)
        self.seed = int(seed)
        self._stream = BatchStream(sampler, through=through)

    def setup(self, stage: str) -> None:
        """Goes to the start of the trainer's epoch; a checkpoint's position is set after that."""
        if stage == "fit" and self.trainer is not None:
            limit = self.trainer.limit_train_batches
            part = limit if isinstance(limit, int) else int(limit * len(self._stream))
            self._stream.begin(self.trainer.current_epoch, length=max(1, part))

    def train_dataloader(self) -> BatchStream:
        """Batches of training pairs, the same stream at every call."""
        return self._stream

    def on_before_batch_transfer(
        self,
        batch: Batch | RankingTask,
        dataloader_idx: int,  # noqa: ARG002
    ) -> Batch | RankingTask | Share:
        """Where there are several processes, takes this one's share of a training batch."""
        trainer = self.trainer
        if trainer is None or trainer.world_size == 1 or not isinstance(batch, Batch):
            return batch
        return take_share(batch, rank=trainer.global_rank, world_size=trainer.world_size)

    def val_dataloader(self) -> Iterable[RankingTask]:
        """The validation part, as one task."""
        return _OneTask(self.dataset.valid, self.dataset.train)

    def test_dataloader(self) -> Iterable[RankingTask]:
        """The test part, as one task."""
        return _OneTask(self.dataset.test, self.dataset.seen)

    def state_dict(self) -> dict[str, int]:
        """The seed and the position of the next batch."""
        return {"seed": self.seed, **self._stream.state_dict()}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Goes to a saved position.

        Raises:
            ValueError: if it was saved under another seed.
        """
        if state_dict.get("seed") != self.seed:
            raise ValueError(
                f"seed must be that of the checkpoint ({state_dict.get('seed')}), or the rest of "
                f"the epoch would repeat some pairs and skip others; got {self.seed}."
            )
        self._stream.load_state_dict(state_dict)
