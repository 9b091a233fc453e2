"""All-ranking evaluation: every unseen item competes for every user."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sgfd._top_items import Vectors
from sgfd.evaluation._metrics import check_ks, ranking_metrics
from sgfd.evaluation._ranking import interactions, ranked_hits, users_with_target


class Evaluation(NamedTuple):
    """Metrics of each evaluated user.

    Attributes:
        users: (U,) int64, the users that have a target item, in the order evaluated.
        per_user: ``{"ndcg@20": (U,) float64, ...}`` with the metrics recall, ndcg, precision,
            map, hit_rate and mrr at each k. See ``ranking_metrics`` for the definitions.
        num_skipped: how many users were left out because they have no target item.
    """

    users: npt.NDArray[np.int64]
    per_user: dict[str, npt.NDArray[np.float64]]
    num_skipped: int

    def means(self) -> dict[str, float]:
        """The mean of each metric over users (the macro average), every user counting alike."""
        return {name: float(values.mean()) for name, values in self.per_user.items()}


def evaluate(
    scores: "Callable[[Tensor], Tensor] | Vectors",
    target: csr_array,
    *,
    seen: csr_array | None = None,
    ks: Sequence[int] = (10, 20),
    users: npt.ArrayLike | None = None,
    batch_size: int = 1024,
    item_block: int = 4096,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Evaluation:
    """Rank all items for each user and compare the best with what the user chose.

    Items in ``seen`` get minus infinity and can be neither hit nor in the way; no other item is
    left out, and none is sampled. Memory is a few times ``batch_size * num_items`` scores, or
    ``batch_size * item_block`` where ``scores`` is the vectors that they are products of.

    Equal scores are ordered as ``torch.topk`` happens to order them, which may differ between
    devices and versions. Scores with many ties (popularity counts, half precision) are better
    made distinct before, e.g. by adding a little seeded noise.

    Args:
        scores: users (B,) int64 to scores (B, num_items), higher is better; usually
            ``model.scorer()`` of ours, which computes once what users share, or ``model.scores``
            of others. Called without gradient, and its result is never changed. Minus
            infinity means "never recommend": such an item is no hit. Put a model with dropout
            into eval mode first. Or ``model.vectors()``, or any pair of users (num_users, D) and
            items (num_items, D) as ``top_items`` takes them: for catalogs whose scores do not fit
            in memory. The result is the same, but for scores that are equal up to rounding.
        target: (num_users, num_items) SciPy sparse, non-zero where the item is relevant:
            ``dataset.valid`` while training, ``dataset.test`` at the end.
        seen: the same shape, items not to recommend again: ``dataset.train`` beside
            ``dataset.valid``, ``dataset.seen`` beside ``dataset.test``. None masks nothing.
        ks: cut-offs, each at most the number of items. A list that ``seen`` leaves with fewer
            than k items counts as it is; precision still divides by k.
        users: (n,) user indices to evaluate; None means all.
        batch_size: users scored at once.
        item_block: items scored at once, of vectors; see ``top_items``.
        device: where the user indices passed to ``scores`` are; None means the CPU. The ranking
            runs wherever the scores are. Of vectors, where to compute; None means where the items
            are.
        progress: show a progress bar.

    Returns:
        An ``Evaluation``. Users without a target item are left out and counted.

    Raises:
        TypeError: if ``target`` or ``seen`` is not sparse, or ``scores`` is a model, not its
            method, or does not return a floating-point Tensor.
        ValueError: if scores are NaN or of the wrong shape, an item is both in ``target`` and in
            ``seen`` for one user, ``ks`` or ``users`` are empty, repeated or out of range, or no
            user has a target item.

    Example:
        >>> from sgfd.evaluation import evaluate
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> table = torch.tensor([[0.9, 0.5, 0.1], [0.2, 0.8, 0.4]])
        >>> train = csr_array([[1, 0, 0], [0, 0, 0]])
        >>> test = csr_array([[0, 1, 0], [0, 0, 1]])
        >>> result = evaluate(lambda users: table[users], test, seen=train, ks=[1, 2])
        >>> result.per_user["recall@1"]
        array([1., 0.])
        >>> result.means()["mrr@2"]
        0.75
    """
    target, seen = interactions(target, seen)
    _check_disjoint(target, seen)
    chosen, num_skipped = users_with_target(target, users)
    cutoffs = check_ks(ks, target.shape[1], "items").tolist()
    ranked = ranked_hits(
        scores,
        target,
        chosen,
        seen=seen,
        k=max(cutoffs),
        batch_size=batch_size,
        item_block=item_block,
        device=device,
        progress=progress,
    )
    per_user = ranking_metrics(ranked.hits, ranked.num_relevant, cutoffs)
    return Evaluation(chosen, per_user, num_skipped)


def _check_disjoint(target: csr_array, seen: csr_array | None) -> None:
    if seen is None:
        return
    both = target.astype(bool).multiply(seen.astype(bool))
    if both.nnz:
        rows, columns = both.nonzero()
        raise ValueError(
            "target and seen must be disjoint: a seen item is never recommended, so it cannot "
            f"be a hit. {both.nnz} pairs are in both, e.g. user {rows[0]}, item {columns[0]}. "
            "Remove them from one."
        )
