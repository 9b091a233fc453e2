"""BM3: bootstrapped multimodal recommendation without negative samples."""

from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from sgfd._batch import Batch
from sgfd._checks import check_integer, check_number
from sgfd._features import FeatureSource
from sgfd._functional import distinct, take
from sgfd._seed import seeded
from sgfd.backbones._base import Recommender, Vectors, dot_scorer, feature_tables
from sgfd.backbones._checks import check_batch, check_parts, sizes
from sgfd.graph import Bipartite, propagate


class BM3(Recommender):
    r"""BM3 (Zhou et al., WWW 2023), with any number of modalities.

    Users and items come from LightGCN-style propagation with a residual for items,

    .. math::
        [U; I] = \frac{1}{K+1}\sum_{k=0}^{K} \hat A^k [U_0; I_0], \qquad I \leftarrow I + I_0

    and the loss pulls together, through a predictor q and with :math:`s(a, b) = 1 - \cos(a, b)`
    averaged over the pairs of the batch, targets b being constants under dropout:

    .. math::
        L = s(q(u), i) + s(q(i), u) + \lambda_{cl} \sum_m [s(q(f_m), i) + s(q(f_m), f_m)]
            + \lambda_{reg} (\lVert U\rVert_F + \lVert I\rVert_F) / M

    with :math:`f_m` the projected features of the batch's items and M the number of items.
    Features act in the loss only: scores are :math:`q(u)^\top q(i)`, so items without
    interactions cannot be recommended by what they are.

    Only the batch's distinct items are projected, and raw features are frozen by default; the
    authors' code projects the catalog at every step and trains the raw features.

    Args:
        interactions: (num_users, num_items) training interactions, a SciPy sparse matrix.
        features: ``{modality: (num_items, F_m)}``, floating: tensors, arrays or memory maps.
        dim: width of the embeddings.
        num_layers: K, at least 0.
        dropout: of the targets, in 0..1 (1 excluded), while training.
        reg_weight: of the norms.
        cl_weight: of the feature terms. 2, as in the release; worth a search: .2 ranks 24 %
            better on MovieLens-1M, and on three other datasets nothing is shown (-1 to +8 %;
            docs/study.md, validation parts).
        train_features: whether raw features are parameters.
        seed: of the initial parameters.

    Raises:
        ValueError: for features that do not fit the items, or options out of range.

    Example:
        >>> import torch
        >>> from sgfd.backbones import BM3, Batch
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = BM3(data.train, data.features, dim=16)
        >>> users, items = (torch.from_numpy(x).long() for x in data.train.nonzero())
        >>> loss = model(Batch(users[:8], items[:8], torch.empty(8, 0, dtype=torch.long)))
        >>> model.recommend(torch.tensor([0, 1]), k=5, seen=data.train).items.shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        interactions: csr_array,
        features: Mapping[str, FeatureSource],
        *,
        dim: int = 64,
        num_layers: int = 1,
        dropout: float = 0.3,
        reg_weight: float = 0.1,
        cl_weight: float = 2.0,
        train_features: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_integer("dim", dim, at_least=1)
        check_integer("num_layers", num_layers, at_least=0)
        check_number("dropout", dropout, at_least=0, below=1)
        check_number("reg_weight", reg_weight, at_least=0)
        check_number("cl_weight", cl_weight, at_least=0)
        self.num_users, self.num_items = sizes(interactions)
        self.num_layers, self.dropout = num_layers, dropout
        self.reg_weight, self.cl_weight = reg_weight, cl_weight
        self.graph = Bipartite(interactions)
        self.features = feature_tables(features, self.num_items, trainable=train_features)
        with seeded(seed):
            self.user_embedding = nn.Embedding(self.num_users, dim)
            self.item_embedding = nn.Embedding(self.num_items, dim)
            self.predictor = nn.Linear(dim, dim)
            layers = {m: nn.Linear(source.shape[1], dim) for m, source in features.items()}
            nn.init.xavier_uniform_(self.user_embedding.weight)
            nn.init.xavier_uniform_(self.item_embedding.weight)
            for layer in (self.predictor, *layers.values()):
                nn.init.xavier_normal_(layer.weight)
        self.projections = nn.ModuleDict(layers)

    def representations(self) -> tuple[Tensor, Tensor]:
        """Users (num_users, dim) and items (num_items, dim) after propagation."""
        users, items = self.user_embedding.weight, self.item_embedding.weight
        sum_users, sum_items = users, items
        for _ in range(self.num_layers):
            users, items = propagate(self.graph, users, items)
            sum_users, sum_items = sum_users + users, sum_items + items
        layers = self.num_layers + 1
        return sum_users / layers, sum_items / layers + self.item_embedding.weight

    def forward(self, batch: Batch) -> Tensor:
        """The training loss of a batch; negatives are not read."""
        check_batch(batch, self, negatives=False)
        users, items = self.representations()
        user_rows, user_of, _ = distinct(batch[0])
        item_rows, item_of, _ = distinct(batch[1])
        u, i = users[user_rows], items[item_rows]
        u_target, i_target = take(self._target(u), user_of), take(self._target(i), item_of)
        loss: Tensor = _distance(take(self.predictor(u), user_of), i_target)
        loss = loss + _distance(take(self.predictor(i), item_of), u_target)
        for m, projection in self.projections.items():
            f = projection(self.features[m](item_rows, u.dtype))
            online, target = take(self.predictor(f), item_of), take(self._target(f), item_of)
            pull = _distance(online, i_target) + _distance(online, target)
            loss = loss + self.cl_weight * pull
        # Frobenius norms over all nodes, divided by the items, as the authors' code has it.
        norms: Tensor = torch.linalg.norm(users) + torch.linalg.norm(items)
        return loss + self.reg_weight * norms / self.num_items

    def scores(self, users: Tensor) -> Tensor:
        """Scores of every item for some users, (B, num_items)."""
        return self.scorer()(users)

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """``scores`` after one propagation for all users."""
        return dot_scorer(*self.vectors())

    @torch.no_grad()
    def vectors(self) -> Vectors:
        """q(u) and q(i) of all users and items, each (n, dim)."""
        return Vectors(*map(self.predictor, self.representations()))

    def items_of(self, batch: Batch) -> Tensor:
        """The positive items."""
        check_parts(batch, negatives=False)
        return batch[1]

    def _target(self, x: Tensor) -> Tensor:
        return F.dropout(x.detach(), self.dropout, self.training)


def _distance(online: Tensor, target: Tensor) -> Tensor:
    return 1 - F.cosine_similarity(online, target, dim=-1).mean()
