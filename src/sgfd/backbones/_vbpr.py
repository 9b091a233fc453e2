"""VBPR: matrix factorization with a second, feature-born set of item factors."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from sgfd._batch import Batch
from sgfd._checks import check_integer, check_number
from sgfd._features import FeatureSource
from sgfd._functional import distinct, take, widen
from sgfd._seed import seeded
from sgfd._sources import CHUNK, in_chunks
from sgfd._tensor_checks import check_users
from sgfd.backbones._base import (
    NewFeatures,
    Recommender,
    Vectors,
    feature_tables,
    items_with_negatives,
    new_features,
)
from sgfd.backbones._checks import check_batch, sizes


class VBPR(Recommender):
    r"""VBPR (He and McAuley, AAAI 2016), with any number of modalities.

    .. math::
        s(u, i) = b_i + \gamma_u^\top \gamma_i
                  + \sum_m (\theta_{u,m}^\top f_{m,i} + \beta_m^\top x_{m,i})

    with :math:`f_m = E_m x_m + e_m` the projected and :math:`x_m` the raw features; the global
    offset and the user's bias of the paper rank nothing and are left out, and so is
    :math:`\beta` by default. The loss is Bayesian personalized ranking over sampled negatives,
    :math:`-\log\sigma(s(u, i) - s(u, j))`, plus L2 of all factors of the batch's users and items,
    the projected features among them: left out, they grow in place of the ids, and a larger
    ``reg_weight`` makes it worse (on Amazon Office they came to carry 89 % of the variance of the
    scores, and VBPR fell far below ItemKNN).

    Args:
        interactions: (num_users, num_items) training interactions; only its shape is used.
        features: ``{modality: (num_items, F_m)}``, floating: tensors, arrays or memory maps.
        dim: width of the id factors and of each modality's factors.
        feature_bias: whether the raw features have a bias :math:`\beta_m`, as in the paper. It is
            not regularized, and cost a tenth or more on Amazon Office.
        reg_weight: of the two mean squared norms. To be tuned: .02 to .04 was best on Amazon
            Office (of .003 to .1), and on MovieLens-1M .01 was better than .001.
        train_features: whether raw features are parameters.
        sparse: whether the gradients of the id tables hold the batch's rows only, which
            ``LazyAdam`` reads: on large catalogs a step takes a fraction of the time.
        seed: of the initial parameters.

    Raises:
        ValueError: for features that do not fit the items, or options out of range.

    Example:
        >>> import torch
        >>> from sgfd.backbones import VBPR
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = VBPR(data.train, data.features, dim=16)
        >>> model.scores(torch.tensor([0, 1])).shape == (2, data.num_items)
        True
    """

    def __init__(
        self,
        interactions: csr_array,
        features: Mapping[str, FeatureSource],
        *,
        dim: int = 64,
        feature_bias: bool = False,
        reg_weight: float = 0.02,
        train_features: bool = False,
        sparse: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_integer("dim", dim, at_least=1)
        check_number("reg_weight", reg_weight, at_least=0)
        self.num_users, self.num_items = sizes(interactions)
        self.reg_weight = reg_weight
        self.features = feature_tables(features, self.num_items, trainable=train_features)
        with seeded(seed):
            self.user_embedding = nn.Embedding(self.num_users, dim, sparse=sparse)
            self.item_embedding = nn.Embedding(self.num_items, dim, sparse=sparse)
            self.item_bias = nn.Embedding(self.num_items, 1, sparse=sparse)
            tastes = {m: nn.Embedding(self.num_users, dim, sparse=sparse) for m in features}
            layers = {m: nn.Linear(source.shape[1], dim) for m, source in features.items()}
            for table in (self.user_embedding, self.item_embedding, *tastes.values()):
                nn.init.xavier_uniform_(table.weight)
            for layer in layers.values():
                nn.init.xavier_uniform_(layer.weight)
        self.user_features, self.projections = nn.ModuleDict(tastes), nn.ModuleDict(layers)
        nn.init.zeros_(self.item_bias.weight)
        self.feature_bias = nn.ParameterDict(
            {m: torch.zeros(s.shape[1]) for m, s in features.items()} if feature_bias else {}
        )

    def item_factors(self, rows: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Factors (n, (1 + modalities) * dim) and biases (n,) of some items, or of all."""
        mapped = any(table.mapped is not None for table in self.features.values())
        if rows is None and mapped and not torch.is_grad_enabled():
            return self._all_factors()
        ids = self.item_embedding.weight if rows is None else self.item_embedding(rows)
        bias = (self.item_bias.weight if rows is None else self.item_bias(rows)).squeeze(-1)
        features = {m: self.features[m](rows, ids.dtype) for m in self.projections}
        return self._joined(ids, bias, features)

    def _all_factors(self) -> tuple[Tensor, Tensor]:
        """The same of all items, so many at a time that their features need not fit in memory."""
        ids = self.item_embedding.weight
        factors = ids.new_empty(len(ids), ids.shape[1] * (1 + len(self.projections)))
        bias = ids.new_empty(len(ids))
        for some in in_chunks(len(ids), CHUNK, ids.device):
            factors[some], bias[some] = self.item_factors(some)
        return factors, bias

    def _joined(
        self, ids: Tensor, bias: Tensor, features: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        factors = [ids]
        for m, projection in self.projections.items():
            x = features[m]
            factors.append(projection(x))
            if m in self.feature_bias:
                bias = bias + x @ self.feature_bias[m]
        return torch.cat(factors, dim=-1), bias

    def user_factors(self, users: Tensor) -> Tensor:
        """Factors (B, (1 + modalities) * dim) of some users."""
        tables = (self.user_embedding, *self.user_features.values())
        factors: Tensor = torch.cat([table(users) for table in tables], dim=-1)
        return factors

    def forward(self, batch: Batch) -> Tensor:
        """The training loss of a batch with one negative per pair or more."""
        check_batch(batch, self, negatives=True)
        rows, of, _ = distinct(self.items_of(batch))
        factors, bias = self.item_factors(rows)
        of = of.view(len(batch[0]), -1)
        u, i = self.user_factors(batch[0]), take(factors, of)
        scores = widen(
            torch.linalg.vecdot(u.unsqueeze(1), i) + take(bias.unsqueeze(1), of).squeeze(2)
        )
        loss: Tensor = F.softplus(scores[:, 1:] - scores[:, :1]).mean()
        norms = u.square().sum(-1).mean() + i.square().sum(-1).mean()
        return loss + self.reg_weight * norms

    def scores(self, users: Tensor) -> Tensor:
        """Scores of every item for some users, (B, num_items)."""
        return self.scorer()(users)

    @torch.no_grad()
    def scorer(self) -> Callable[[Tensor], Tensor]:
        """``scores`` after one projection of the catalog for all users."""
        return self._scorer(*self.item_factors())

    @torch.no_grad()
    def new_scorer(self, features: NewFeatures) -> Callable[[Tensor], Tensor]:
        """Scores of items that training has not met, whose id factors and bias are 0."""
        x = new_features(self.features, features, self.item_embedding.weight)
        n = len(next(iter(x.values())))
        ids = self.item_embedding.weight.new_zeros(n, self.item_embedding.embedding_dim)
        return self._scorer(*self._joined(ids, ids.new_zeros(n), x))

    @torch.no_grad()
    def vectors(self) -> Vectors:
        """All factors; one more column is 1 of users, and of items their bias."""
        items, bias = self.item_factors()
        users = self.user_factors(torch.arange(self.num_users, device=items.device))
        ones = users.new_ones(self.num_users, 1)
        return Vectors(torch.cat([users, ones], 1), torch.cat([items, bias.unsqueeze(1)], 1))

    def _scorer(self, factors: Tensor, bias: Tensor) -> Callable[[Tensor], Tensor]:
        @torch.no_grad()
        def scores(users: Tensor) -> Tensor:
            users = check_users(users, self.num_users).to(factors.device)
            return self.user_factors(users) @ factors.T + bias

        return scores

    def items_of(self, batch: Batch) -> Tensor:
        """Each positive item and its negatives, pair by pair."""
        return items_with_negatives(batch)
