r"""The metrics of the SGFD authors' release, under names of their own.

Only for putting a number beside the paper's table, whose rows each use their backbone's own
metric. They are no substitute for ``evaluate``: they reward other things (below), they are not
comparable with each other, and the release chose its epoch by them on the test part.

With ``h_r`` the hit (1 or 0) at rank ``r``, ``H_k = h_1 + ... + h_k``, ``n`` a user's relevant
items and ``d(r) = 1 / log2(r + 1)`` (the release takes natural logarithms: the ratio is the same):

- GRCN and MAML divide the DCG by the ideal DCG of the hits *retrieved*, not of the relevant
  items. A user with one hit at rank 1 scores 1, however many items were missed.
- BM3 does the same with two bounds that disagree. Its value for ``k`` reads the ideal from the
  hits above rank ``k`` (ranks 1 to ``k - 1``) and the DCG from the whole list, as long as the
  largest cut-off ``K`` of the run. A user can exceed 1, a user whose first hit is at rank ``k``
  gets 0, and NDCG@10 changes when cut-off 20 is asked for beside it.
- BM3 sums hits and relevant items over all users before it divides (micro average), so users
  with many test items weigh more.
- GRCN sets seen items to 1e-5 instead of minus infinity: they come before every item with a
  lower score, and take its place in the list.

The release's remaining numbers are the standard ones: its recall (MAML, GRCN), precision, MAP
and hit rate are means over users, as in ``ranking_metrics``. (BM3's "HK" is the hit rate at 20,
whatever ``k`` stands beside it.)
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sgfd._checks import check_function, check_sparse
from sgfd.evaluation._metrics import check_hits, check_ks, check_relevant, ranking_metrics
from sgfd.evaluation._ranking import RankedHits, interactions, ranked_hits, users_with_target


class FullAccuracy(NamedTuple):
    """GRCN's five numbers, each a mean over users with a target item.

    Attributes:
        precision: hits / k.
        recall: hits / relevant items.
        ndcg: DCG / ideal DCG of the hits retrieved.
        hit: 1 if there is a hit.
        hit_recall: hits / relevant items once more; always equal to ``recall``.
    """

    precision: float
    recall: float
    ndcg: float
    hit: float
    hit_recall: float


def micro_recall(hits: npt.ArrayLike, num_relevant: npt.ArrayLike) -> float:
    """Hits of all users over relevant items of all users: ``sum_u H_K / sum_u n``.

    Args:
        hits: (U, K) bool.
        num_relevant: (U,) integers from 1.

    Raises:
        TypeError, ValueError: as ``ranking_metrics``.

    Example:
        >>> from sgfd.evaluation import micro_recall
        >>> micro_recall([[True], [False]], [1, 3])  # the mean over users would be 0.5
        0.25
    """
    hit = check_hits(hits)
    if len(hit) == 0:
        raise ValueError("hits must be of one user or more; got none.")
    return float(hit.sum() / check_relevant(num_relevant, hit).sum())


def retrieved_ndcg(hits: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """DCG over the ideal DCG of the hits retrieved, as GRCN and MAML compute NDCG@K.

    ``sum_{r<=K} h_r d(r) / sum_{r<=H_K} d(r)`` with ``d(r) = 1 / log2(r + 1)``, and 0 without a
    hit.

    Args:
        hits: (U, K) bool, best rank first.

    Returns:
        (U,) float64.

    Raises:
        TypeError: if ``hits`` is not bool.
        ValueError: if ``hits`` is not a matrix.

    Example:
        >>> from sgfd.evaluation import retrieved_ndcg
        >>> retrieved_ndcg([[True, False, False], [False, True, False]]).round(3)
        array([1.   , 0.631])
    """
    hit = check_hits(hits)
    return _ndcg_of_retrieved(hit, hit)


def bm3_ndcg(hits: npt.ArrayLike, k: int) -> npt.NDArray[np.float64]:
    """NDCG@k as BM3's evaluation of the release computes it, one rank off.

    ``sum_{r<=K} h_r d(r) / sum_{r<=H_{k-1}} d(r)`` with ``d(r) = 1 / log2(r + 1)``, and 0 where
    ``H_{k-1} = 0``. ``K``, the columns of ``hits``, is the largest cut-off of the run.

    Args:
        hits: (U, K) bool, best rank first.
        k: the cut-off, in 1..K.

    Returns:
        (U,) float64. Not bounded by 1.

    Raises:
        TypeError: if ``hits`` is not bool.
        ValueError: if ``hits`` is not a matrix, or ``k`` is out of range.

    Example:
        >>> from sgfd.evaluation import bm3_ndcg
        >>> bm3_ndcg([[True, True], [False, True]], 2).round(3)
        array([1.631, 0.   ])
    """
    hit = check_hits(hits)
    check_ks([k], hit.shape[1], "columns of hits")
    return _ndcg_of_retrieved(hit, hit[:, : k - 1])


def grcn_full_accuracy(
    scores: Callable[[Tensor], Tensor],
    target: csr_array,
    *,
    seen: csr_array | None = None,
    k: int = 20,
    batch_size: int = 1024,
    device: torch.device | str | None = None,
) -> FullAccuracy:
    """What GRCN's ``full_accuracy`` in the release reports. Seen items score 1e-5.

    Args:
        scores: as in ``evaluate``.
        target: (num_users, num_items) SciPy sparse, the relevant items.
        seen: the same shape; the release passes train.
        k: length of the lists.
        batch_size: users scored at once; changes nothing else.
        device: as in ``evaluate``.

    Raises:
        TypeError: as ``evaluate``.
        ValueError: as ``evaluate``, but an item may be in both ``target`` and ``seen``.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.evaluation import grcn_full_accuracy
        >>> table = torch.tensor([[0.9, 0.5, -0.1]])
        >>> seen, target = csr_array([[1, 0, 0]]), csr_array([[0, 0, 1]])
        >>> grcn_full_accuracy(lambda users: table[users], target, seen=seen, k=2).recall
        0.0
    """
    ranked = rank_all(scores, target, seen, 1e-5, k, batch_size, device)
    values = ranking_metrics(ranked.hits, ranked.num_relevant, [k])
    recall = float(values[f"recall@{k}"].mean())
    return FullAccuracy(
        precision=float(values[f"precision@{k}"].mean()),
        recall=recall,
        ndcg=float(retrieved_ndcg(ranked.hits).mean()),
        hit=float(values[f"hit_rate@{k}"].mean()),
        hit_recall=recall,
    )


def bm3_release_metrics(
    scores: Callable[[Tensor], Tensor],
    target: csr_array,
    *,
    seen: csr_array | None = None,
    ks: Sequence[int] = (10, 20),
    batch_size: int = 1024,
    device: torch.device | str | None = None,
) -> dict[str, float]:
    """What BM3's evaluation in the release calls recall and NDCG. Seen items score -1e10.

    Args:
        scores: as in ``evaluate``.
        target: (num_users, num_items) SciPy sparse, the relevant items.
        seen: the same shape; the release passes train.
        ks: the cut-offs. The largest changes ``bm3_ndcg`` at the others; the release asks for
            10 and 20.
        batch_size: users scored at once; changes nothing else.
        device: as in ``evaluate``.

    Returns:
        ``{"micro_recall@10": ..., "bm3_ndcg@10": ...}`` and so on. The release rounds them to
        four decimals.

    Raises:
        TypeError: as ``evaluate``.
        ValueError: as ``evaluate``, but an item may be in both ``target`` and ``seen``.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.evaluation import bm3_release_metrics
        >>> target = csr_array([[1, 0, 0, 1]])
        >>> bm3_release_metrics(lambda users: torch.tensor([[4.0, 3, 2, 1]]), target, ks=[2])
        {'micro_recall@2': 0.5, 'bm3_ndcg@2': 1.0}
    """
    check_sparse("target", target)
    cutoffs = check_ks(ks, target.shape[1], "items").tolist()
    hits, num_relevant = rank_all(scores, target, seen, -1e10, max(cutoffs), batch_size, device)
    recall = {f"micro_recall@{k}": micro_recall(hits[:, :k], num_relevant) for k in cutoffs}
    return recall | {f"bm3_ndcg@{k}": float(bm3_ndcg(hits, k).mean()) for k in cutoffs}


def _ndcg_of_retrieved(
    gained: npt.NDArray[np.bool_], counted: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """DCG of the hits ``gained`` over the ideal DCG of as many hits as were ``counted``."""
    discount = 1.0 / np.log2(np.arange(2, gained.shape[1] + 2))
    ideal = np.concatenate([[np.inf], discount.cumsum()])  # no hit: x / inf = 0
    return np.asarray(gained @ discount / ideal[counted.sum(axis=1)], dtype=np.float64)


def rank_all(
    scores: Callable[[Tensor], Tensor],
    target: csr_array,
    seen: csr_array | None,
    seen_score: float,
    k: int,
    batch_size: int,
    device: torch.device | str | None,
) -> RankedHits:
    """Hits of all users that have a target item, among the best ``k`` items."""
    check_function("scores", scores)
    target, seen = interactions(target, seen)
    check_ks([k], target.shape[1], "items")
    users, _ = users_with_target(target, None)
    return ranked_hits(
        scores,
        target,
        users,
        seen=seen,
        seen_score=seen_score,
        k=k,
        batch_size=batch_size,
        device=device,
    )
