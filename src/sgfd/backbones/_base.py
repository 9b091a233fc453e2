"""What a reference backbone promises."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TypeAlias

import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from sgfd._batch import Batch
from sgfd._checks import check_integer, check_mapping
from sgfd._features import FeatureSource, FeatureTable, as_tensor, checked_shape
from sgfd._functional import check_modalities
from sgfd._sources import new_rows
from sgfd._tensor_checks import check_users
from sgfd._top_items import Recommendations, check_seen
from sgfd._top_items import Vectors as Vectors
from sgfd.backbones._checks import check_parts

NewFeatures: TypeAlias = Mapping[str, FeatureSource]


class Recommender(nn.Module, ABC):
    """A recommender whose ``forward`` is its training loss.

    Subclasses are leaves: they implement ``forward``, ``scores`` and ``items_of``, and ``scorer``
    where users share work. ``distill`` needs no more than that ``forward(batch)`` is the loss and
    ``items_of(batch)`` names the items it reads.

    Attributes:
        num_users: number of users.
        num_items: number of items.
    """

    num_users: int
    num_items: int

    @abstractmethod
    def forward(self, batch: Batch) -> Tensor:
        """The training loss of a batch, a scalar."""

    @abstractmethod
    def scores(self, users: Tensor) -> Tensor:
        """Scores of every item for some users.

        Args:
            users: (B,) int64, user indices, on any device.

        Returns:
            (B, num_items) on the model's device, higher is better, without gradient.
        """

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """``scores``, with what is the same for all users computed once.

        For ranking many users, batch by batch: ``evaluate(model.scorer(), ...)``. Take another
        after training on: what this one says then is undefined.
        """
        return self.scores

    def new_scorer(self, features: NewFeatures) -> Callable[[Tensor], Tensor]:
        """Scores of items that training has not met, by their features alone.

        Args:
            features: ``{modality: (n, F_m)}``, every modality of the model; a row of NaN for an
                item that lacks one.

        Returns:
            Users (B,) to scores (B, n), comparable with those of ``scorer``.

        Raises:
            NotImplementedError: if the backbone knows items by their interactions alone.
            ValueError: for features that do not fit.
        """
        raise NotImplementedError(
            f"{type(self).__name__} cannot rank items that training has not met: it scores items "
            "by what was learned of each from its interactions. VBPR, GRCN and MAML can."
        )

    def vectors(self) -> Vectors:
        """Vectors for retrieval elsewhere: ``users @ items.T`` is ``scores``, biases included.

        Without gradient, on the model's device, as the model is now.

        Raises:
            NotImplementedError: if the scores are not inner products.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no vectors: its scores are not inner products of a user's "
            "and an item's (MAML measures every pair by a metric of its own). VBPR, GRCN and BM3 "
            "have them."
        )

    @abstractmethod
    def items_of(self, batch: Batch) -> Tensor:
        """The items a batch's loss reads, (n,) int64, repeats kept."""

    @torch.no_grad()
    def recommend(
        self,
        users: Tensor,
        k: int = 20,
        *,
        seen: csr_array | None = None,
        new_items: NewFeatures | None = None,
    ) -> Recommendations:
        """The ``k`` best items of each user, leaving out what it has seen.

        All scores of the users are held at once, (B, num_items): of many users or items, take
        ``sgfd.export.top_items``, for the backbones that have vectors.

        Args:
            users: (B,) int64, user indices.
            k: how many items, at most as many as there are.
            seen: (num_users, num_items) interactions to leave out, usually
                ``dataset.train``; None leaves out nothing.
            new_items: ``{modality: (n, F_m)}`` features of items that training has not met, which
                take part as items ``num_items``..``num_items + n - 1``; None for none.

        Raises:
            NotImplementedError: for new items, if the backbone cannot rank them (BM3).
            TypeError: for users that are no indices, or ``seen`` that is not sparse.
            ValueError: if ``k`` is not in 1..items, ``users`` are out of range, ``seen`` has
                another shape, or the new features do not fit.
        """
        users = check_users(users, self.num_users, at_least_one=True)
        new = None if new_items is None else self.new_scorer(new_items)
        there = self.num_items + (0 if new_items is None else len(next(iter(new_items.values()))))
        check_integer("k", k, at_least=1)
        if k > there:
            raise ValueError(f"k must be in 1..{there} (the items there are); got {k}.")
        scores = self.scores(users)
        if seen is not None:
            check_seen(seen, (self.num_users, self.num_items))
            cells = csr_array(seen)[users.cpu().numpy()].nonzero()
            hidden = tuple(torch.from_numpy(i.astype("int64")).to(scores.device) for i in cells)
            scores = scores.index_put(hidden, scores.new_tensor(-torch.inf))
        if new is not None:
            scores = torch.cat([scores, new(users)], dim=1)
        best = scores.topk(k, dim=1)
        items = best.indices.masked_fill(best.values == -torch.inf, -1)
        return Recommendations(items, best.values)


def feature_tables(
    features: Mapping[str, FeatureSource], num_items: int, *, trainable: bool
) -> nn.ModuleDict:
    """One table per modality, each checked to have a row per item."""
    check_mapping("features", features)
    if not features:
        raise ValueError("features must have at least one modality; got none.")
    check_modalities(features)
    return nn.ModuleDict(
        {
            m: FeatureTable(
                source, name=f"features[{m!r}]", num_rows=num_items, trainable=trainable
            )
            for m, source in features.items()
        }
    )


def items_with_negatives(batch: Batch) -> Tensor:
    """Each positive item and its negatives, pair by pair, (B * (1 + n),)."""
    check_parts(batch, negatives=True)
    return torch.cat([batch[1].unsqueeze(1), batch[2]], dim=1).flatten()


def dot_scorer(users: Tensor, items: Tensor) -> Callable[[Tensor], Tensor]:
    """Inner products of some users' representations with every item's."""

    @torch.no_grad()
    def scores(rows: Tensor) -> Tensor:
        rows = check_users(rows, len(users)).to(users.device)
        return users[rows] @ items.T

    return scores


def new_features(tables: nn.ModuleDict, features: NewFeatures, like: Tensor) -> dict[str, Tensor]:
    """Features of new items, checked, on the device and of the dtype of ``like``."""
    check_mapping("New features", features)
    if features.keys() != tables.keys():
        raise ValueError(
            f"New items need features of exactly {list(tables)}; got {list(features)}. An item "
            "that lacks a modality has a row of NaN there."
        )
    for m, x in features.items():
        checked_shape(x, f"New features[{m!r}]", None)
    if len({len(x) for x in features.values()}) != 1:
        counts = {m: len(x) for m, x in features.items()}
        raise ValueError(f"Every modality must have a row for each new item; got {counts} rows.")
    found = {}
    for m, table in tables.items():
        assert isinstance(table, FeatureTable)
        rows = as_tensor(features[m])
        found[m] = new_rows(table, f"New features[{m!r}]", rows, table.width).to(like)
    return found
