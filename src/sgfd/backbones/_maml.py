"""MAML: distances between users and items, in dimensions that matter to the pair."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from sgfd._batch import Batch
from sgfd._checks import check_integer, check_number
from sgfd._features import FeatureSource
from sgfd._functional import activate, distinct, take, widen
from sgfd._seed import seeded
from sgfd._tensor_checks import check_users
from sgfd.backbones._base import (
    NewFeatures,
    Recommender,
    feature_tables,
    items_with_negatives,
    new_features,
)
from sgfd.backbones._checks import check_batch, sizes
from sgfd.backbones._maml_attention import MetricAttention
from sgfd.backbones._maml_terms import (
    clip_rows,
    covariance_penalty,
    rank_weighted_hinge,
    weighted_distance,
)

# Values of the attention's hidden layer that a CPU computes at a time, 8 MB in float32. A tensor
# above 32 MB is taken from the system at each operation and given back after (glibc), which takes
# as long again as the arithmetic.
AT_ONCE = 2**21


class MAML(Recommender):
    r"""MAML (Liu et al., MM 2019), with any number of modalities.

    Users and items are points of the unit ball, and a user likes what is near, in a metric of its
    own for each pair, which the item's features take part in (``MetricAttention``):

    .. math::
        d(u, i) = \lVert a_{ui} \odot (u - i) \rVert^2, \qquad s(u, i) = -d(u, i)

    The features :math:`f_i` of an item are all modalities together, with
    :math:`\nu(x) = x / \lVert x\rVert` and :math:`\text{clip}` as in ``clip_rows``:

    .. math::
        f_i = \text{clip}(V_4 r(V_3\, \nu(r(V_2\, \nu(r(V_1\, \nu([E_1 x_1; \dots; E_M x_M])))))))

    where r is ReLU, and every layer has a bias. The loss is the mean of ``rank_weighted_hinge``
    over the pairs of the batch, plus :math:`\lambda_f` times the mean of
    :math:`\lVert i - f_i\rVert^2` over its distinct items, plus :math:`\lambda_c` times the
    ``covariance_penalty`` of its distinct users and items together, plus :math:`\lambda_r` times
    the mean of :math:`(a - 1)^2`, which bounds how far the metrics of two pairs differ from the
    plain one. Users start a tenth from the middle of the ball; items at their features, as the
    layers give them when the model is made (a student put there later that adds an activation
    gives others).

    Rows of users and items that an optimizer's step has taken out of the unit ball are put back in
    place by the next training forward, in the whole tables, so that all replicas of
    DistributedDataParallel do the same; ``scores`` reads them as if put back, and writes
    nothing. (Divided by their length where they are read, they would stay outside for good:
    the gradient then has no part that leads back in.)

    Where the authors of SGFD depart: their optimizer sees the two tables only, here everything is
    trained; they add sums over the catalog to a sum over the batch, here all are means, at a cost
    that does not grow with the catalog; their covariances keep their signs.

    Args:
        interactions: (num_users, num_items) training interactions; only its shape is used.
        features: ``{modality: (num_items, F_m)}``, floating: tensors, arrays or memory maps. Their
            order is the order in which they are concatenated.
        dim: width of users, items and projected features.
        margin: of the hinge, above 0.
        hidden_dim: width of the first layer that reads all modalities.
        dropout: after that layer and the next while training, in 0..1 (1 excluded).
        feature_weight: :math:`\lambda_f`.
        covariance_weight: :math:`\lambda_c`.
        reg_weight: :math:`\lambda_r`. Not in the paper. Without it, the attention learns the
            training pairs by heart, once it is trained as here: on Amazon Office the model then
            fell below popularity.
        train_features: whether raw features are parameters.
        sparse: whether the gradients of the two tables hold the batch's rows only, which
            ``LazyAdam`` reads: on large catalogs a step takes a fraction of the time.
        seed: of the initial parameters.

    Raises:
        ValueError: for features that do not fit the items, or options out of range.

    Example:
        >>> import torch
        >>> from sgfd.backbones import MAML
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = MAML(data.train, data.features, dim=16)
        >>> model.recommend(torch.tensor([0, 1]), k=5, seen=data.train).items.shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        interactions: csr_array,
        features: Mapping[str, FeatureSource],
        *,
        dim: int = 64,
        margin: float = 1.0,
        hidden_dim: int = 256,
        dropout: float = 0.2,
        feature_weight: float = 5.0,
        covariance_weight: float = 5.0,
        reg_weight: float = 100.0,
        train_features: bool = False,
        sparse: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_integer("dim", dim, at_least=1)
        check_integer("hidden_dim", hidden_dim, at_least=1)
        check_number("margin", margin, above=0)
        check_number("dropout", dropout, at_least=0, below=1)
        check_number("feature_weight", feature_weight, at_least=0)
        check_number("covariance_weight", covariance_weight, at_least=0)
        check_number("reg_weight", reg_weight, at_least=0)
        self.num_users, self.num_items = sizes(interactions)
        self.margin, self.dropout = margin, dropout
        self.feature_weight, self.covariance_weight = feature_weight, covariance_weight
        self.reg_weight = reg_weight
        self.features = feature_tables(features, self.num_items, trainable=train_features)
        with seeded(seed):
            self.user_embedding = nn.Embedding(self.num_users, dim, sparse=sparse)
            self.item_embedding = nn.Embedding(self.num_items, dim, sparse=sparse)
            self.attention = MetricAttention(dim)
            layers = {m: nn.Linear(source.shape[1], dim) for m, source in features.items()}
            widths = (len(layers) * dim, hidden_dim, dim, dim, dim)
            self.feature_layers = nn.ModuleList(map(nn.Linear, widths[:-1], widths[1:]))
            nn.init.normal_(self.user_embedding.weight, std=0.1 * dim**-0.5)
            for layer in (*layers.values(), *self.feature_layers):
                nn.init.xavier_uniform_(layer.weight)
                nn.init.zeros_(layer.bias)
        self.projections = nn.ModuleDict(layers)
        with torch.no_grad():
            self.item_embedding.weight.copy_(self._all_features())
        self._clip()

    def item_features(self, rows: Tensor, *, dropout: float = 0.0) -> Tensor:
        """Features f of some items, (n, dim).

        Args:
            rows: (n,) int64, item indices.
            dropout: after the first two layers.
        """
        dtype = self.item_embedding.weight.dtype
        return self._joint({m: self.features[m](rows, dtype) for m in self.projections}, dropout)

    def _joint(self, features: Mapping[str, Tensor], dropout: float = 0.0) -> Tensor:
        projected = [projection(features[m]) for m, projection in self.projections.items()]
        first, second, third, last = self.feature_layers
        x = activate(torch.cat(projected, dim=-1), None, normalize=True)
        x = F.dropout(activate(first(x), F.relu, normalize=True), dropout)
        x = F.dropout(activate(second(x), F.relu, normalize=True), dropout)
        return clip_rows(last(third(x).relu()))

    def forward(self, batch: Batch) -> Tensor:
        """The training loss of a batch with one negative per pair or more."""
        check_batch(batch, self, negatives=True)
        if self.training:
            self._clip()
        user_rows, user_of, _ = distinct(batch[0])
        item_rows, item_of, _ = distinct(self.items_of(batch))
        user_of, item_of = user_of.unsqueeze(1), item_of.view(len(user_of), -1)
        u, i = self.user_embedding(user_rows), self.item_embedding(item_rows)
        f = self.item_features(item_rows, dropout=self.dropout if self.training else 0.0)
        of_users, of_items = self.attention.of_users(u), self.attention.of_items(i, f)
        found = []
        size = self._pairs_at_once(item_of, len(item_rows))
        for users, items in zip(*(torch.split(x, size) for x in (user_of, item_of)), strict=True):
            weights = self.attention.weights(of_users.at(users), of_items.at(items))
            distance = weighted_distance(weights, take(u, users), take(i, items))
            found.append((distance, (weights - 1).square().mean(-1)))
        distances, deviations = (torch.cat(parts) for parts in zip(*found, strict=True))
        loss = rank_weighted_hinge(
            distances[:, 0], distances[:, 1:], margin=self.margin, num_items=self.num_items
        ).mean()
        loss = loss + self.feature_weight * (widen(i) - widen(f)).square().sum(-1).mean()
        loss = loss + self.covariance_weight * covariance_penalty(torch.cat([u, i]))
        return loss + self.reg_weight * deviations.mean()

    @torch.no_grad()
    def scores(self, users: Tensor) -> Tensor:
        """Scores of every item for some users, (B, num_items), at least float32."""
        return self.scorer()(users)

    @torch.no_grad()
    def scorer(self) -> Callable[[Tensor], Tensor]:
        """``scores``, with every item's features computed once."""
        return self._scorer(clip_rows(self.item_embedding.weight), self._all_features())

    @torch.no_grad()
    def new_scorer(self, features: NewFeatures) -> Callable[[Tensor], Tensor]:
        """Scores of items that training has not met: they are where their features are."""
        f = self._joint(new_features(self.features, features, self.item_embedding.weight))
        return self._scorer(f, f)

    def _scorer(self, items: Tensor, features: Tensor) -> Callable[[Tensor], Tensor]:
        @torch.no_grad()
        def score(users: Tensor) -> Tensor:
            users = check_users(users, self.num_users).to(items.device)
            u = clip_rows(self.user_embedding(users))
            return -self.attention.distances(u, items, features)

        return score

    def items_of(self, batch: Batch) -> Tensor:
        """Each positive item and its negatives, pair by pair."""
        return items_with_negatives(batch)

    @torch.no_grad()
    def _all_features(self) -> Tensor:
        rows = torch.arange(self.num_items, device=self.item_embedding.weight.device)
        return torch.cat([self.item_features(some) for some in torch.split(rows, 8192)])

    def _pairs_at_once(self, items: Tensor, distinct_items: int) -> int:
        """How many rows of a batch's (B, 1 + negatives) items are computed at a time."""
        if items.device.type != "cpu" or torch.compiler.is_compiling():
            return len(items)
        # Each part makes a gradient of all distinct items, so parts grow with these.
        at_once = max(AT_ONCE // self.attention.hidden.out_features, distinct_items // 4)
        return max(1, at_once // items.shape[1])

    @torch.no_grad()
    def _clip(self) -> None:
        for table in (self.user_embedding.weight, self.item_embedding.weight):
            length = torch.linalg.vector_norm(table, dim=-1, keepdim=True)
            # Rows that rounding alone puts outside stay: two forwards must not differ by them.
            outside = length > 1 + 1e-6
            if table.device.type == "cpu" and not torch.compiler.is_compiling():
                # Few are: large tables are read, and not written through.
                rows = outside.squeeze(-1).nonzero().squeeze(-1)
                table[rows] = table[rows] / length[rows]
            else:
                table.div_(torch.where(outside, length, 1.0))
