"""The best items of many users by inner products, in memory that the catalog's size is not in."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sgfd._checks import check_device, check_integer, check_sparse
from sgfd._features import FeatureSource, as_tensor, checked_shape
from sgfd._tensor_checks import check_users

# The largest of so many scores is looked at before each of them is. 32 and 64 take the same time.
_GROUP = 32


class Recommendations(NamedTuple):
    """The best items of some users.

    Attributes:
        items: (B, k) int64, item indices, best first; -1 where a user has fewer than ``k`` items
            left after those in ``seen``.
        scores: (B, k) their scores; minus infinity where ``items`` is -1.
    """

    items: Tensor
    scores: Tensor


class Vectors(NamedTuple):
    """Users and items whose inner products are a recommender's scores: ``users @ items.T``.

    Attributes:
        users: (num_users, D).
        items: (num_items, D).
    """

    users: Tensor
    items: Tensor


def top_items(
    vectors: "Vectors | tuple[FeatureSource, FeatureSource]",
    users: Tensor,
    k: int = 20,
    *,
    seen: csr_array | None = None,
    batch_size: int = 1024,
    item_block: int = 4096,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Recommendations:
    """The ``k`` best items of many users, leaving out what each has seen.

    Finds what ``model.recommend`` does, but for items whose scores are equal up to rounding. It
    takes the product of some users with a block of items at a time and keeps the best so far: a
    few times ``batch_size * item_block`` scores are held, 16 MB, never a row of all items. Seen
    items are masked block by block, so none takes a place in the list.

    Args:
        vectors: users (num_users, D) and items (num_items, D) such that ``users @ items.T`` are
            the scores: ``model.vectors()``, what ``load_vectors`` read, or two tensors, arrays or
            memory maps of one's own. Half precision is multiplied in float32.
        users: (n,) int64, user indices.
        k: how many items, at most as many as there are.
        seen: (num_users, num_items) SciPy sparse, non-zero where an item is to be left out,
            usually ``dataset.train``; None leaves out nothing.
        batch_size: users ranked at once. The items are read through once for each batch.
        item_block: items scored at once. By default a block of scores fits a processor's last
            cache; from 2,048 to 8,192 the time hardly changes.
        device: where to compute; None means where the items are.
        progress: show a progress bar.

    Returns:
        Items and scores, (n, k), on the device of the computation.

    Raises:
        TypeError: for what is no pair of tables, no indices, or ``seen`` that is not sparse.
        ValueError: if the tables do not match, ``k``, ``users`` or a size is out of range,
            ``seen`` has another shape, or a score is NaN.

    Example:
        >>> import torch
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.export import top_items
        >>> data = synthetic_catalog()
        >>> model, users = VBPR(data.train, data.features), torch.arange(3)
        >>> found = top_items(model.vectors(), users, k=5, seen=data.train)
        >>> torch.equal(found.items, model.recommend(users, k=5, seen=data.train).items)
        True
    """
    rows, columns = check_vectors(vectors)
    users = check_users(users, len(rows), at_least_one=True)
    check_integer("k", k, at_least=1)
    if k > len(columns):
        raise ValueError(f"k must be in 1..{len(columns)} (the items there are); got {k}.")
    check_integer("batch_size", batch_size, at_least=1)
    if seen is not None:
        check_seen(seen, (len(rows), len(columns)))
        seen = csr_array(seen)
    batches: Iterable[Tensor] = torch.split(users.cpu(), int(batch_size))
    if progress:
        from tqdm import tqdm

        batches = tqdm(batches, desc="top_items", unit="batch")
    found = [
        best_items(vectors, batch.numpy(), k, seen=seen, item_block=item_block, device=device)
        for batch in batches
    ]
    return Recommendations(
        torch.cat([f.items for f in found]), torch.cat([f.scores for f in found])
    )


def check_vectors(
    vectors: "Vectors | tuple[FeatureSource, FeatureSource]",
) -> "tuple[FeatureSource, FeatureSource]":
    """Both tables, or an error."""
    if not isinstance(vectors, (tuple, list)) or len(vectors) != 2:
        raise TypeError(
            "vectors must be a pair, users (num_users, D) and items (num_items, D), as "
            f"model.vectors() gives them; got {type(vectors).__qualname__}."
        )
    shapes = [
        checked_shape(x, name, None) for x, name in zip(vectors, Vectors._fields, strict=True)
    ]
    if shapes[0][1] != shapes[1][1]:
        raise ValueError(
            "users and items must be of one width, that of their inner product; got "
            f"{shapes[0][1]} and {shapes[1][1]}."
        )
    return vectors[0], vectors[1]


def check_seen(seen: csr_array, shape: tuple[int, int]) -> None:
    """Raises TypeError or ValueError for what are no interactions of these users and items."""
    check_sparse("seen", seen)
    if seen.shape != shape:
        raise ValueError(f"seen must be (num_users, num_items) = {shape}; got {tuple(seen.shape)}.")


@torch.no_grad()
def best_items(
    vectors: "Vectors | tuple[FeatureSource, FeatureSource]",
    users: npt.NDArray[np.int64],
    k: int,
    *,
    seen: csr_array | None,
    item_block: int,
    device: torch.device | str | None,
) -> Recommendations:
    """The ``k`` best items of one batch of users; the arguments as in ``top_items``, checked."""
    item_block = check_integer("item_block", item_block, at_least=1)
    items = vectors[1]
    where = items.device if isinstance(items, Tensor) and device is None else check_device(device)
    u = _rows(vectors[0], users, where)
    u = u.to(torch.promote_types(u.dtype, _rows(items, slice(0, 0), where).dtype))
    num_items = len(items)
    # Whole groups: what is beyond the items stays minus infinity.
    width = _GROUP * -(-min(item_block, num_items) // _GROUP)
    block = u.new_full((len(u), width), -torch.inf)
    best = Recommendations(
        torch.full((len(u), k), -1, device=where), u.new_full((len(u), k), -torch.inf)
    )
    starts = range(0, num_items, item_block)
    for start, cells in zip(starts, _hidden(seen, users, starts), strict=True):
        some = _rows(items, slice(start, start + item_block), where).to(u.dtype)
        block[:, len(some) :] = -torch.inf
        torch.mm(u, some.T, out=block[:, : len(some)])
        hidden = tuple(torch.from_numpy(index).to(where) for index in cells)
        wrong = block[hidden].isnan().any()
        block[hidden] = -torch.inf
        peaks = block.view(len(u), -1, _GROUP).amax(2)
        if wrong or peaks.isnan().any():
            row, item = (u @ some.T).isnan().nonzero()[0].tolist()
            raise ValueError(nan_score(users[row], start + item))
        _merge(best, block, peaks, start)
    return best


def nan_score(user: int, item: int) -> str:
    """What is said of a score that is NaN."""
    return (
        f"scores must not be NaN; the score of user {user} for item {item} is. Has training "
        "diverged?"
    )


def _merge(best: Recommendations, block: Tensor, peaks: Tensor, start: int) -> None:
    """Puts a block's items among the best so far, where they belong there.

    An item that does has a score above the worst of them, and so does the peak of its group; and
    not more than k groups can have one.
    """
    k = best.items.shape[1]
    if start == 0:
        top = block.topk(min(k, block.shape[1]), dim=1)
        _put(best, (slice(None), slice(top.values.shape[1])), top.indices, top.values)
        return
    hot = peaks > best.scores[:, -1:]
    rows = hot.any(1).nonzero().squeeze(1)
    if not len(rows):
        return
    most = min(k, int(hot.sum(1).max()))
    groups = peaks[rows].topk(most, dim=1, sorted=False).indices
    scores = block.view(len(block), -1, _GROUP)[rows.unsqueeze(1), groups].flatten(1)
    offsets = torch.arange(start, start + _GROUP, device=block.device)
    items = (groups.unsqueeze(2) * _GROUP + offsets).flatten(1)
    top = torch.cat([best.scores[rows], scores], dim=1).topk(k, dim=1)
    items = torch.cat([best.items[rows], items], dim=1).gather(1, top.indices)
    _put(best, (rows,), items, top.values)


def _put(best: Recommendations, where: tuple[Any, ...], items: Tensor, scores: Tensor) -> None:
    best.items[where] = items.masked_fill(scores == -torch.inf, -1)
    best.scores[where] = scores


def _hidden(
    seen: csr_array | None, users: npt.NDArray[np.int64], starts: range
) -> "Iterator[tuple[np.ndarray, np.ndarray]]":
    """Rows and columns of each block's seen cells."""
    rows = columns = np.empty(0, dtype=np.int64)
    if seen is not None:
        rows, columns = (index.astype(np.int64) for index in seen[users].nonzero())
        order = columns.argsort(kind="stable")
        rows, columns = rows[order], columns[order]
    cuts = np.searchsorted(columns, [*starts, starts.stop])
    for start, low, high in zip(starts, cuts[:-1], cuts[1:], strict=True):
        yield rows[low:high], columns[low:high] - start


def _rows(
    table: "FeatureSource", rows: "npt.NDArray[np.int64] | slice", device: torch.device
) -> Tensor:
    """Some rows of a table, of float32 at least."""
    if isinstance(table, Tensor) and isinstance(rows, np.ndarray):
        found = table[torch.from_numpy(rows).to(table.device)]
    else:
        found = as_tensor(table[rows])
    return found.detach().to(device, torch.promote_types(found.dtype, torch.float32))
