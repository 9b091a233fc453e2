"""Ranking metrics per user, from the hits of ranked lists."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from sgfd._checks import as_array


def ranking_metrics(
    hits: npt.ArrayLike, num_relevant: npt.ArrayLike, ks: Sequence[int]
) -> dict[str, npt.NDArray[np.float64]]:
    r"""Every metric of every user at every cut-off, in float64.

    With ``h_r`` = 1 if the item at rank ``r`` (from 1) is relevant and 0 otherwise, ``n`` the
    number of relevant items of the user and ``H_k = h_1 + ... + h_k``::

        recall@k     H_k / n
        ndcg@k       sum_{r<=k} h_r / log2(r + 1)  /  sum_{r<=min(k,n)} 1 / log2(r + 1)
        precision@k  H_k / k
        map@k        sum_{r<=k} h_r H_r / r  /  min(k, n)
        hit_rate@k   1 if H_k > 0, else 0
        mrr@k        1 / (first r <= k with h_r = 1), or 0

    Conventions, where the literature has several: recall divides by all relevant items (so it
    cannot reach 1 where ``n > k``); NDCG has binary gains, and its ideal ranks all relevant
    items, found or not; precision divides by ``k`` even where a list is shorter; average
    precision divides by ``min(k, n)``, so a perfect list gives 1; the reciprocal rank is of the
    first hit within ``k``. These are the definitions of ``torch_geometric.metrics``, whose
    ``LinkPredRecall``, ``NDCG``, ``Precision``, ``MAP``, ``HitRatio`` and ``MRR`` are the means
    over users of these values (the macro average).

    Args:
        hits: (B, K) bool with ``K >= max(ks)``, column 0 the best rank. Entries beyond the end
            of a short list are False.
        num_relevant: (B,) integers from 1: how many relevant items each user has, in the list
            or not.
        ks: the cut-offs.

    Returns:
        ``{"recall@10": (B,), ...}``: metric by metric, for each in the order of ``ks``.

    Raises:
        TypeError: if ``hits`` is not bool, or ``num_relevant`` or ``ks`` not integers.
        ValueError: if shapes disagree, ``ks`` is empty, repeats or has one outside ``1..K``, a
            user has no relevant item, or more hits than relevant items.

    Example:
        >>> from sgfd.evaluation import ranking_metrics
        >>> values = ranking_metrics([[True, False, True]], [2], ks=[1, 3])
        >>> {name: round(float(value[0]), 3) for name, value in values.items()}
        {'recall@1': 0.5, 'recall@3': 1.0, 'ndcg@1': 1.0, 'ndcg@3': 0.92,
         'precision@1': 1.0, 'precision@3': 0.667, 'map@1': 1.0, 'map@3': 0.833,
         'hit_rate@1': 1.0, 'hit_rate@3': 1.0, 'mrr@1': 1.0, 'mrr@3': 1.0}
    """
    hit = check_hits(hits)
    relevant = check_relevant(num_relevant, hit)
    k = check_ks(ks, hit.shape[1], "columns of hits")
    at = k - 1
    rank = np.arange(1, hit.shape[1] + 1)
    discount = 1.0 / np.log2(rank + 1)
    n = relevant[:, None]
    found = hit.cumsum(axis=1)
    gain = (hit * discount).cumsum(axis=1)
    precision_at_hits = (hit * (found / rank)).cumsum(axis=1)
    reciprocal = np.maximum.accumulate(hit / rank, axis=1)
    values = {
        "recall": found[:, at] / n,
        "ndcg": gain[:, at] / discount.cumsum()[np.minimum(n, k) - 1],
        "precision": found[:, at] / k,
        "map": precision_at_hits[:, at] / np.minimum(n, k),
        "hit_rate": (found[:, at] > 0).astype(np.float64),
        "mrr": reciprocal[:, at],
    }
    return {f"{name}@{k[j]}": v[:, j] for name, v in values.items() for j in range(len(k))}


def check_ks(ks: Sequence[int], limit: int, what: str) -> npt.NDArray[np.int64]:
    """The cut-offs as an array, or an error that names ``limit``, the number of ``what``."""
    k = as_array("ks", ks)
    if k.ndim != 1 or k.size == 0:
        raise ValueError(f"ks must be a non-empty sequence of cut-offs, e.g. (10, 20); got {ks!r}.")
    if not np.issubdtype(k.dtype, np.integer):
        raise TypeError(f"ks must be integers, e.g. (10, 20); got {ks!r}.")
    if k.min() < 1 or k.max() > limit:
        raise ValueError(f"every k must be in 1..{limit} (the number of {what}); got {ks!r}.")
    if len(np.unique(k)) < k.size:
        raise ValueError(f"ks must not repeat a cut-off; got {ks!r}.")
    return k.astype(np.int64)


def check_hits(hits: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """The hits as a bool matrix, or an error that says what they must be."""
    hit = as_array("hits", hits)
    if hit.dtype != np.bool_:
        raise TypeError(f"hits must be bool, True where the item is relevant; got {hit.dtype}.")
    if hit.ndim != 2:
        raise ValueError(f"hits must be (users, ranks); got {hit.shape}.")
    return hit


def check_relevant(
    num_relevant: npt.ArrayLike, hits: npt.NDArray[np.bool_]
) -> npt.NDArray[np.int64]:
    """The relevant items per user, or an error where they cannot belong to ``hits``."""
    relevant = as_array("num_relevant", num_relevant)
    if not np.issubdtype(relevant.dtype, np.integer):
        raise TypeError(f"num_relevant must be integers; got {relevant.dtype}.")
    if relevant.shape != hits.shape[:1]:
        raise ValueError(
            f"num_relevant must have one entry per row of hits, ({len(hits)},); "
            f"got {relevant.shape}."
        )
    if relevant.size and relevant.min() < 1:
        row = int(relevant.argmin())
        raise ValueError(
            f"every user must have a relevant item; row {row} has {relevant[row]}. Leave such "
            "users out: no metric is defined for them."
        )
    surplus = hits.sum(axis=1) - relevant
    if surplus.size and surplus.max() > 0:
        row = int(surplus.argmax())
        raise ValueError(
            f"a list cannot hold more hits than the user has relevant items; row {row} has "
            f"{hits[row].sum()} hits and num_relevant {relevant[row]}."
        )
    return relevant.astype(np.int64)
