"""Nearest neighbors among exported vectors, by faiss."""

from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sgfd._extra import needed
from sgfd._features import FeatureSource
from sgfd.export._checks import checked_rows


class Neighbors(NamedTuple):
    """The nearest rows of an index to some queries.

    Attributes:
        items: (n, k) int64, row numbers in the index, nearest first; -1 where it found fewer.
        scores: (n, k) float32, inner products or cosines; minus infinity where ``items`` is -1.
    """

    items: Tensor
    scores: Tensor


def build_index(vectors: "FeatureSource", *, cosine: bool = False, kind: str = "Flat") -> Any:
    """A faiss index of vectors, by inner product or cosine.

    ``Flat`` compares a query with every vector: exact, and fast enough for hundreds of thousands.
    With the items of ``model.vectors()`` and users as queries it finds what ``recommend`` does.
    By cosine, rows are divided by their length, in the index and as queries; a row of zeros has
    cosine 0 with everything.

    Args:
        vectors: (num_items, D), floating and finite; the index holds float32.
        cosine: whether to compare directions alone, as for items like an item; by default inner
            products, as for items for a user.
        kind: what ``faiss.index_factory`` takes: ``Flat`` is exact, ``HNSW32`` or ``IVF1024,Flat``
            approximate and faster on millions (measure the recall against ``Flat``). What needs
            training is trained on the vectors.

    Returns:
        A ``faiss.Index``, for ``nearest`` or faiss's own methods.

    Raises:
        ImportError: without faiss (extra ``export``).
        TypeError: for what is no tensor or array.
        ValueError: for vectors that are not (rows, width), floating and finite, and for a kind that
            faiss does not know or cannot train on so few.

    Example:
        >>> import torch
        >>> from sgfd.export import build_index, nearest
        >>> items = torch.tensor([[1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
        >>> nearest(build_index(items), torch.tensor([[1.0, 0.0]]), k=2).items
        tensor([[2, 0]])
        >>> nearest(build_index(items, cosine=True), torch.tensor([[1.0, 0.0]]), k=2).items
        tensor([[0, 2]])
    """
    faiss = needed("faiss", "build_index")
    rows = _rows("vectors", vectors)
    factory = f"L2norm,{kind}" if cosine else kind
    try:
        index = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not index.is_trained:
            index.train(rows)
        index.add(rows)
    except RuntimeError as error:
        raise ValueError(
            "kind must be what faiss.index_factory takes, such as 'Flat', and fit the vectors "
            f"{rows.shape}; got {kind!r}: {error}."
        ) from error
    return index


def nearest(index: Any, queries: "FeatureSource", k: int = 20) -> Neighbors:
    """The ``k`` nearest rows of an index to each query.

    A query that is itself in the index is its own neighbor: ask for one more, and drop it.
    Likewise, to leave out what a user has seen, ask for so many more.

    Args:
        index: of ``build_index`` or ``load_index``.
        queries: (n, D), floating and finite; are compared in float32.
        k: how many, at most as many as the index has.

    Raises:
        ImportError: without faiss (extra ``export``).
        TypeError: for what is no index, and for queries that are no tensor or array.
        ValueError: for queries of another width than the index, and for ``k`` out of range.

    Example:
        >>> import torch
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.export import build_index, nearest
        >>> data = synthetic_catalog()
        >>> model = VBPR(data.train, data.features)
        >>> users, items = model.vectors()
        >>> found = nearest(build_index(items), users[:2], k=5)
        >>> torch.equal(found.items, model.recommend([0, 1], k=5).items)
        True
    """
    check_index(index, "nearest")
    rows = _rows("queries", queries)
    if rows.shape[1] != index.d:
        raise ValueError(f"queries must be (n, {index.d}), as the index is; got {rows.shape}.")
    if isinstance(k, bool) or not isinstance(k, Integral) or not 1 <= k <= index.ntotal:
        raise ValueError(f"k must be in 1..{index.ntotal} (the rows of the index); got {k!r}.")
    scores, items = map(torch.from_numpy, index.search(rows, int(k)))
    return Neighbors(items, scores.masked_fill(items < 0, -torch.inf))


def check_index(index: object, by: str) -> None:
    """Raises TypeError for what is no index of faiss."""
    if not isinstance(index, needed("faiss", by).Index):
        raise TypeError(
            f"{by} needs a faiss.Index, as build_index and load_index give; got "
            f"{type(index).__qualname__}."
        )


def _rows(name: str, vectors: "FeatureSource") -> Any:
    single = checked_rows(name, vectors).float()
    return checked_rows(f"{name} in float32, which faiss compares,", single).numpy()
