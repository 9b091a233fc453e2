"""Recall@20 and NDCG@20 as the paper's table has them, backbone by backbone."""

from collections.abc import Callable

import torch
from scipy.sparse import csr_array
from torch import Tensor

from sgfd._checks import check_sparse
from sgfd.evaluation import bm3_release_metrics, grcn_full_accuracy, ranking_metrics, retrieved_ndcg
from sgfd.evaluation._metrics import check_ks
from sgfd.evaluation._release import rank_all
from sgfd.release._recipes import Cell


def published_metrics(
    backbone: str,
    scores: Callable[[Tensor], Tensor],
    target: csr_array,
    *,
    seen: csr_array | None = None,
    batch_size: int = 1024,
    device: torch.device | str | None = None,
) -> Cell:
    """The numbers to put beside a cell of the paper's table, in % as there.

    ========  =======================  =======================================================
    backbone  recall                   NDCG
    ========  =======================  =======================================================
    bm3       ``micro_recall``         ``bm3_ndcg``
    grcn      mean over users          ``retrieved_ndcg``; seen items score 1e-5 in both columns
    maml      mean over users          ``retrieved_ndcg``
    ========  =======================  =======================================================

    ``sgfd.evaluation`` says what is wrong with them; report ``evaluate`` beside them.

    Args:
        backbone: "bm3", "grcn" or "maml", whose metrics to take.
        scores: as in ``evaluate``.
        target: (num_users, num_items) SciPy sparse, the relevant items.
        seen: the same shape, items not to recommend again.
        batch_size: users scored at once; changes nothing else.
        device: as in ``evaluate``.

    Raises:
        TypeError: as ``evaluate``.
        ValueError: for another backbone, or fewer than 20 items. What is both in ``target`` and
            in ``seen`` is no error here: the release counts it as missed.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.release import published_metrics
        >>> table = torch.rand(2, 30)
        >>> table[0, 7] = 2.0  # the only hit of user 0, who misses nine in ten
        >>> target = csr_array(([1.0] * 10, ([0] * 10, range(7, 17))), shape=(2, 30))
        >>> seen = csr_array(([1.0] * 9, ([0] * 9, range(8, 17))), shape=(2, 30))
        >>> published_metrics("maml", lambda users: table[users], target, seen=seen)
        Cell(recall=10.0, ndcg=100.0)
    """
    if backbone not in ("bm3", "grcn", "maml"):
        raise ValueError(f"backbone must be 'bm3', 'grcn' or 'maml'; got {backbone!r}.")
    check_sparse("target", target)
    check_ks([20], target.shape[1], "items")
    if backbone == "bm3":
        values = bm3_release_metrics(
            scores, target, seen=seen, batch_size=batch_size, device=device
        )
        return Cell(100 * values["micro_recall@20"], 100 * values["bm3_ndcg@20"])
    if backbone == "grcn":
        accuracy = grcn_full_accuracy(
            scores, target, seen=seen, batch_size=batch_size, device=device
        )
        return Cell(100 * accuracy.recall, 100 * accuracy.ndcg)
    ranked = rank_all(scores, target, seen, -torch.inf, 20, batch_size, device)
    recall = ranking_metrics(ranked.hits, ranked.num_relevant, [20])["recall@20"]
    return Cell(100 * float(recall.mean()), 100 * float(retrieved_ndcg(ranked.hits).mean()))
