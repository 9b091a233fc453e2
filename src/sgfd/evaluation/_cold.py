"""How well items are ranked that no training has met."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import torch
from scipy.sparse import csr_array, hstack
from torch import Tensor

from sgfd.data import ColdSplit
from sgfd.evaluation._evaluate import Evaluation, evaluate


class RanksNewItems(Protocol):
    """What ``evaluate_cold`` needs of a model: VBPR, GRCN and MAML have it, distilled or not."""

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """Scores of every item of the catalog for some users."""

    def new_scorer(self, features: Mapping[str, Any]) -> Callable[[Tensor], Tensor]:
        """Scores of new items for some users."""


class ColdEvaluation(NamedTuple):
    """The new items ranked among themselves, and among all items.

    Attributes:
        among_new: only new items compete: do features tell which of them a user likes?
        among_all: they compete with the catalog, less what the user has there in any part: are
            they shown at all?
    """

    among_new: Evaluation
    among_all: Evaluation


def evaluate_cold(
    model: RanksNewItems,
    split: ColdSplit,
    *,
    ks: Sequence[int] = (10, 20),
    batch_size: int = 1024,
    device: torch.device | str | None = None,
) -> ColdEvaluation:
    """Ranks the items that ``hold_out_items`` held out for the users who chose them.

    Args:
        model: trained on ``split.warm``, in eval mode.
        split: of ``hold_out_items``.
        ks: cut-offs, each at most the number of new items.
        batch_size: users scored at once.
        device: where users are passed to the model; None means the CPU.

    Raises:
        TypeError: for what is no model or no split.
        NotImplementedError: if the model cannot rank new items, as BM3.

    Example:
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import hold_out_items, synthetic_catalog
        >>> from sgfd.evaluation import evaluate_cold
        >>> split = hold_out_items(synthetic_catalog(), seed=0)
        >>> found = evaluate_cold(VBPR(split.warm.train, split.warm.features), split)
        >>> sorted(found.among_new.means())[:2]
        ['hit_rate@10', 'hit_rate@20']
    """
    if not isinstance(split, ColdSplit):
        raise TypeError(
            f"split must be what hold_out_items() gives; got {type(split).__qualname__}."
        )
    if not callable(getattr(model, "new_scorer", None)):
        own = getattr(model, "backbone", model)  # of what distill() returns
        raise TypeError(
            "model must have scorer() and new_scorer(features), as VBPR, GRCN and MAML have, which "
            "give functions from users to scores (of known items; of new ones, by their features); "
            f"{type(own).__qualname__} has no new_scorer."
        )
    known, new = model.scorer(), model.new_scorer(split.features)
    empty = csr_array((split.warm.num_users, split.warm.num_items), dtype=split.target.dtype)
    none_seen = csr_array(split.target.shape, dtype=split.target.dtype)

    def rank(scores: Callable[[Tensor], Tensor], target: Any, seen: Any) -> Evaluation:
        return evaluate(scores, target, seen=seen, ks=ks, batch_size=batch_size, device=device)

    return ColdEvaluation(
        rank(new, split.target, None),
        rank(
            lambda users: torch.cat([known(users), new(users)], dim=1),
            csr_array(hstack([empty, split.target], format="csr")),
            csr_array(hstack([split.warm.seen + split.warm.test, none_seen], format="csr")),
        ),
    )
