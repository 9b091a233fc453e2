"""Feature rows of the next batches, read while this one trains."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from torch import Tensor, nn

from sgfd._checks import check_integer
from sgfd._features import FeatureTable
from sgfd._functional import distinct
from sgfd._rows import KeptRows

B = TypeVar("B")


def prefetched(
    batches: Iterable[B],
    model: nn.Module,
    *,
    depth: int = 1,
    items: Callable[[B], Tensor] | None = None,
) -> Iterator[B]:
    """The same batches, while a thread reads the rows of memory maps that the next ones need.

    The rows of a batch's distinct items are handed to the model's feature tables, checked and of
    the model's dtype, before the batch is given out; its loss finds them there, the very values
    that it would have read. Asked for other rows, a table reads them as ever. Features in memory
    are left alone.

    Batches are drawn in the caller's thread, ``depth`` of them early; a ``PairSampler``'s do
    not change by that. Nothing starts before the first batch is asked for; the thread ends with the
    last one, or when the loop is left. It pays where reading takes long beside a step: on a GPU, or
    from a slow disk.

    Args:
        batches: such as ``PairSampler.epoch(0)``.
        model: one of the backbones, or ``distill(...)`` of one; not its DistributedDataParallel.
        depth: how many batches are read ahead, at least 1. Each takes its rows' memory.
        items: the items whose features a batch's loss reads; None for ``model.items_of``, which
            for a ``NeighborBatch`` are not all (``lambda batch: batch.item_nodes``), and of a
            recommender of your own is what ``distill(items=)`` was given.

    Yields:
        Each batch.

    Raises:
        TypeError: if ``model`` is no module, or does not say which items a batch reads.
        ValueError: if ``depth`` is below 1, and, when the batch is asked for, what reading raised.

    Example:
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import PairSampler, prefetched, synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = VBPR(data.train, data.features, dim=8)  # features may be memory maps
        >>> sampler = PairSampler(data.train, batch_size=512, seed=0)
        >>> losses = [model(batch).item() for batch in prefetched(sampler.epoch(0), model)]
        >>> len(losses) == sampler.num_batches
        True
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be an nn.Module; got {type(model).__qualname__}.")
    check_integer("depth", depth, at_least=1)
    items = getattr(model, "items_of", None) if items is None else items
    if not callable(items):
        raise TypeError(
            "prefetched needs model.items_of(batch), as sgfd.backbones and distill(items=) have "
            f"it, or items=, a function from a batch to its items; {type(model).__qualname__} has "
            "none. Of a wrapped model pass the inner one (model.module)."
        )
    tables = [m for m in model.modules() if isinstance(m, FeatureTable) and m.mapped is not None]
    if not tables:
        return iter(batches)
    return _prefetched(iter(batches), tables, items, depth)


def _prefetched(
    batches: Iterator[B],
    tables: list[FeatureTable],
    items: Callable[[B], Tensor],
    depth: int,
) -> Iterator[B]:
    waiting: deque[tuple[B, Future[list[KeptRows]]]] = deque()
    thread = ThreadPoolExecutor(1, thread_name_prefix="sgfd-prefetch")

    def first() -> B:
        batch, reading = waiting.popleft()
        for table, rows in zip(tables, reading.result(), strict=True):
            table.hold(rows)
        return batch

    try:
        for batch in batches:
            waiting.append((batch, thread.submit(_read, tables, items(batch))))
            if len(waiting) > depth:
                yield first()
        while waiting:
            yield first()
    finally:
        thread.shutdown(cancel_futures=True)
        for table in tables:
            table.hold(None)


def _read(tables: list[FeatureTable], items: Tensor) -> list[KeptRows]:
    rows = distinct(items).values
    return [table.read_ahead(rows.to(table.values.device)) for table in tables]
