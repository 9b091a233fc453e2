"""Rank every item for users in batches, and find which of the best are relevant."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from sgfd._checks import as_array, check_device, check_function, check_integer, check_sparse
from sgfd._top_items import Recommendations, Vectors, best_items, check_vectors, nan_score


class RankedHits(NamedTuple):
    """The best ``k`` items of some users, seen as hits and misses.

    Attributes:
        hits: (B, k) bool, best rank first; False where the score is minus infinity.
        num_relevant: (B,) int64, relevant items of each user.
    """

    hits: npt.NDArray[np.bool_]
    num_relevant: npt.NDArray[np.int64]


def ranked_hits(
    scores: "Callable[[Tensor], Tensor] | Vectors",
    target: csr_array,
    users: npt.NDArray[np.int64],
    *,
    seen: csr_array | None,
    seen_score: float = -torch.inf,
    k: int,
    batch_size: int,
    item_block: int = 4096,
    device: torch.device | str | None,
    progress: bool = False,
) -> RankedHits:
    """Hits of ``users``, in order. ``target`` and ``seen`` come from ``interactions``."""
    batch_size = check_integer("batch_size", batch_size, at_least=1)
    rank = _ranker(scores, target.shape, seen, seen_score, k, item_block, device)
    num_items = target.shape[1]
    starts: Iterable[int] = range(0, len(users), batch_size)
    if progress:
        from tqdm import tqdm

        starts = tqdm(starts, desc="evaluate", unit="batch")
    found = []
    for start in starts:
        batch = users[start : start + batch_size]
        with torch.no_grad():
            best = rank(batch)
        rows, columns = (index.astype(np.int64) for index in target[batch].nonzero())
        # One key per (row, item), in order, turns many small sets into one.
        wanted = rows * num_items + columns
        keys = best.items.cpu().numpy() + num_items * np.arange(len(batch))[:, None]
        nearest = np.searchsorted(wanted, keys).clip(max=len(wanted) - 1)
        found.append((wanted[nearest] == keys) & (best.scores > -torch.inf).cpu().numpy())
    return RankedHits(np.concatenate(found), np.diff(target.indptr)[users].astype(np.int64))


def _ranker(
    scores: "Callable[[Tensor], Tensor] | Vectors",
    shape: tuple[int, int],
    seen: csr_array | None,
    seen_score: float,
    k: int,
    item_block: int,
    device: torch.device | str | None,
) -> Callable[[npt.NDArray[np.int64]], Recommendations]:
    """What ranks the items for a batch of users."""
    if isinstance(scores, (tuple, list)):
        tables = check_vectors(scores)
        if (got := tuple(map(len, tables))) != shape:
            raise ValueError(
                f"vectors must be of target's users and items, {shape}; got {got} rows."
            )

        return partial(best_items, tables, k=k, seen=seen, item_block=item_block, device=device)
    check_scores_function(scores)
    where = check_device(device)

    def by_scores(users: npt.NDArray[np.int64]) -> Recommendations:
        matrix = checked_scores(scores(torch.from_numpy(users).to(where)), users, shape[1])
        if seen is not None:
            cells = tuple(torch.from_numpy(i).to(matrix.device) for i in seen[users].nonzero())
            # Out of place: the callable may have returned a tensor it keeps.
            matrix = matrix.index_put(cells, matrix.new_tensor(seen_score))
        best = matrix.topk(k, dim=1)
        return Recommendations(best.indices, best.values)

    return by_scores


def interactions(target: csr_array, seen: csr_array | None) -> tuple[csr_array, csr_array | None]:
    """Both as CSR without duplicates or stored zeros, of one shape."""
    target = _as_csr(target, "target")
    if seen is None:
        return target, None
    seen = _as_csr(seen, "seen")
    if seen.shape != target.shape:
        raise ValueError(
            "seen and target must both be (num_users, num_items); "
            f"got {tuple(seen.shape)} and {tuple(target.shape)}."
        )
    return target, seen


def users_with_target(
    target: csr_array, users: npt.ArrayLike | None
) -> tuple[npt.NDArray[np.int64], int]:
    """The users to evaluate, and how many were left out for want of a target item."""
    num_users = target.shape[0]
    if users is None:
        chosen = np.arange(num_users)
    else:
        chosen = as_array("users", users)
        if chosen.ndim != 1 or not np.issubdtype(chosen.dtype, np.integer):
            raise TypeError(
                "users must be a 1-D sequence of integer user indices; "
                f"got {chosen.dtype} of shape {chosen.shape}."
            )
        if chosen.size and (chosen.min() < 0 or chosen.max() >= num_users):
            raise ValueError(
                f"users must be in 0..{num_users - 1}; got {chosen.min()}..{chosen.max()}."
            )
        if len(np.unique(chosen)) < chosen.size:
            raise ValueError("users must not repeat: each user counts once.")
    kept = chosen[np.diff(target.indptr)[chosen] > 0].astype(np.int64)
    if not kept.size:
        raise ValueError(
            f"none of the {chosen.size} users has a target item, so there is nothing to evaluate."
        )
    return kept, chosen.size - kept.size


def _as_csr(matrix: csr_array, name: str) -> csr_array:
    check_sparse(name, matrix)
    matrix = csr_array(matrix, copy=True)
    if np.isnan(matrix.data).any():
        raise ValueError(f"{name} must not hold NaN: is that an interaction or none?")
    matrix.sum_duplicates()
    matrix.eliminate_zeros()
    return matrix


def check_scores_function(scores: object) -> None:
    """Raises TypeError for what is no function, or a model that has one."""
    if isinstance(scores, nn.Module) and hasattr(scores, "scores"):
        raise TypeError(
            "scores must be a function from users to scores of all items; got a model. "
            "Pass its method: model.scores."
        )
    if isinstance(scores, nn.Module) and hasattr(scores, "distillation_loss"):
        raise TypeError(
            "scores must be a function from users to scores of all items; got what distill() "
            "returns, which is called for its loss. Pass the recommender's scoring method."
        )
    if isinstance(scores, (tuple, list)):
        raise TypeError(
            "scores must be a function from users to scores of all items; got a "
            f"{type(scores).__name__}, vectors perhaps. Pass model.scorer()."
        )
    check_function("scores", scores)


def checked_scores(
    matrix: Tensor, batch: npt.NDArray[np.int64], num_items: int, *, of: str = "target"
) -> Tensor:
    """What a function returned for these users, if it is scores of the items of a matrix."""
    if not isinstance(matrix, Tensor):
        raise TypeError(f"scores(users) must return a Tensor; got {type(matrix).__name__}.")
    if matrix.shape != (len(batch), num_items):
        raise ValueError(
            f"scores(users) must be (users, num_items) = ({len(batch)}, {num_items}), one column "
            f"per item of {of}; got {tuple(matrix.shape)}."
        )
    if not matrix.is_floating_point():
        raise TypeError(
            f"scores(users) must be floating point (seen items become infinite); got "
            f"{matrix.dtype}. Convert it, e.g. scores(users).double()."
        )
    if matrix.numel() and matrix.max().isnan():  # the maximum is NaN where any score is
        row, item = matrix.isnan().nonzero()[0].tolist()
        raise ValueError(nan_score(batch[row], item))
    return matrix
