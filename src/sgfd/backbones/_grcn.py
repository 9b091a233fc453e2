"""GRCN: a graph convolution that weighs its edges by what the items are."""

from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from scipy.sparse import csr_array
from torch import Tensor, nn

from sgfd._batch import Batch
from sgfd._checks import check_activations, check_function, check_integer, check_number
from sgfd._features import FeatureSource
from sgfd._functional import Activation, distinct, take, widen
from sgfd._seed import seeded
from sgfd.backbones._base import (
    NewFeatures,
    Recommender,
    Vectors,
    dot_scorer,
    feature_tables,
    items_with_negatives,
    new_features,
)
from sgfd.backbones._checks import check_batch, sizes
from sgfd.backbones._grcn_cache import OutputCache, new_cache
from sgfd.backbones._grcn_graph import (
    Fusion,
    activated,
    attention_of,
    check_nodes,
    contents,
    features_of,
    new_confidence,
    nodes_of,
    projected,
    representations,
)
from sgfd.backbones._grcn_steps import Attention, Content, Graph, concat_fusion, id_fusion
from sgfd.graph import Bipartite, NeighborBatch, edge_softmax


class GRCN(Recommender):
    r"""GRCN (Wei et al., MM 2020), with any number of modalities.

    Per modality, items are their projected features :math:`f_i`, and users are prototypes
    :math:`p_u` that gather from the items that resemble them (prototypical routing, :math:`T`
    times; all rows have unit length):

    .. math::
        f_i = \text{norm}(a(W x_i + b)), \qquad
        p_u \leftarrow \text{norm}\Big(p_u + \sum_{i \in u}
            \mathop{\text{softmax}}_{i \in u}(p_u^\top f_i)\, f_i\Big)

    With the routed prototypes both sides attend to their neighbors, :math:`\alpha_{u \leftarrow i}`
    and :math:`\alpha_{i \leftarrow u}` being softmaxes of :math:`p_u^\top f_i` over the neighbors
    of the node that receives, which gives the content representations
    :math:`\tilde u = p_u + \sum_i \alpha_{u \leftarrow i} f_i` and likewise of items. The edges of
    the collaborative graph are weighed by the most convincing modality,

    .. math::
        w_{r \leftarrow s} = \max(0, \max_m c_{s,m}\, \alpha^m_{r \leftarrow s})

    with a learned confidence c of the sender in each modality; edges below zero are pruned. Along
    them the normalized id embeddings are passed K times, and summed over the steps. The
    representation of a node is its id part beside its content parts, and
    :math:`s(u, i) = r_u^\top r_i`. The loss is Bayesian personalized ranking,
    :math:`-\log\sigma(s(u, i) - s(u, j))`, plus ``reg_weight`` times the mean squares of the
    batch's id embeddings (users', and items' with negatives) and of its users' prototypes.

    Every item's features are projected at every step, since messages come from all of them; with
    ``refresh_every``, at every n-th step. Where the graph is too large as well, the batches of
    ``sgfd.graph.NeighborSampler`` hold a part of it, and a step computes on that part alone.

    Where the authors of SGFD depart: in their code messages of the routing arrive at the items and
    are dropped, so that it has no effect (``num_routings=0`` is exactly that); scores come from
    representations kept from the last training step; edges are not pruned (``prune=False``).

    Args:
        interactions: (num_users, num_items) training interactions, a SciPy sparse matrix.
        features: ``{modality: (num_items, F_m)}``, floating: tensors, arrays or memory maps.
        dim: width of the embeddings; representations are (1 + modalities) times as wide.
        num_routings: T, at least 0. 3, as in the paper.
        num_layers: K, at least 0. 2, as in the paper.
        dropout: of edges while training, the same in all of a step's messages; below 1.
        target_edges: whether a step's own pairs are edges in it. In the paper they are, and tell
            the answer; without, it may generalize better, if a step has few of a node's pairs.
        reg_weight: of the mean squares.
        confidence: whether senders have the learned confidence c; without it, c is 1.
        pool: over modalities, ``(values (E, M), -1) -> (E,)``: ``torch.amax`` or ``torch.mean``.
            0 where all are 0, or edges that a step leaves out are back.
        prune: whether edges of negative weight are dropped.
        fusion: ``(id part (N, dim), content parts) -> (N, width)``: ``concat_fusion``,
            ``mean_fusion`` or ``id_fusion``.
        message_activation: of what arrives at a node before it is added; None for none.
        train_features: whether raw features are parameters.
        refresh_every: n: all items' features are projected at every n-th training step (a loss in
            training mode with a gradient), 1 being exact. Between, those of the batch's items are;
            the others' outputs are those kept from then, without a gradient. They are in the state
            dict, (modalities, num_items, dim). Scores and other losses never read them.
        sparse: whether the gradients of the id tables hold only the rows of a ``NeighborBatch``,
            for ``LazyAdam``; of no use with other batches.
        seed: of the initial parameters.

    Raises:
        ValueError: for features that do not fit the items, or options out of range.

    Example:
        >>> import torch
        >>> from sgfd.backbones import GRCN
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog()
        >>> model = GRCN(data.train, data.features, dim=16)
        >>> model.recommend(torch.tensor([0, 1]), k=5, seen=data.train).items.shape
        torch.Size([2, 5])
    """

    def __init__(
        self,
        interactions: csr_array,
        features: Mapping[str, FeatureSource],
        *,
        dim: int = 64,
        num_routings: int = 3,
        num_layers: int = 2,
        dropout: float = 0.0,
        target_edges: bool = True,
        reg_weight: float = 1e-3,
        confidence: bool = True,
        pool: Callable[[Tensor, int], Tensor] = torch.amax,
        prune: bool = True,
        fusion: Fusion = concat_fusion,
        message_activation: Activation | None = None,
        train_features: bool = False,
        refresh_every: int = 1,
        sparse: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_integer("dim", dim, at_least=1)
        check_integer("num_routings", num_routings, at_least=0)
        check_integer("num_layers", num_layers, at_least=0)
        check_number("dropout", dropout, at_least=0, below=1)
        check_number("reg_weight", reg_weight, at_least=0)
        check_integer("refresh_every", refresh_every, at_least=1)
        check_function("pool", pool)
        check_function("fusion", fusion)
        check_activations(message_activation=message_activation)
        self.num_users, self.num_items = sizes(interactions)
        self.num_routings, self.num_layers = num_routings, num_layers
        self.dropout, self.target_edges = dropout, target_edges
        self.reg_weight, self.refresh_every = reg_weight, refresh_every
        self.pool, self.prune = pool, prune
        self.fusion, self.message_activation = fusion, message_activation
        self.graph = Bipartite(interactions)
        self.features = feature_tables(features, self.num_items, trainable=train_features)
        with seeded(seed):
            self.user_embedding = nn.Embedding(self.num_users, dim, sparse=sparse)
            self.item_embedding = nn.Embedding(self.num_items, dim, sparse=sparse)
            tastes = {m: nn.Embedding(self.num_users, dim, sparse=sparse) for m in features}
            self.user_confidence = new_confidence(self.num_users, len(features), confidence)
            self.item_confidence = new_confidence(self.num_items, len(features), confidence)
            layers = {m: nn.Linear(source.shape[1], dim) for m, source in features.items()}
            for table in (self.user_embedding, self.item_embedding, *tastes.values()):
                nn.init.xavier_normal_(table.weight)
            for layer in layers.values():
                nn.init.xavier_normal_(layer.weight)
        self.preferences, self.projections = nn.ModuleDict(tastes), nn.ModuleDict(layers)
        self.cache = new_cache(refresh_every, list(features), self.num_items, dim)

    def contents(self) -> list[Content]:
        """Each modality's content representations and attention, on all edges."""
        return contents(self, self.graph, nodes_of(self, features_of(self)), edge_softmax)

    def representations(self, attention: Attention = edge_softmax) -> tuple[Tensor, Tensor]:
        """Users (num_users, width) and items (num_items, width), from parameters alone.

        Args:
            attention: ``(edges, scores (E,)) -> (E,)``, the shares of a receiver's neighbors, 0
                for those left out. ``forward`` has its own in training, by ``dropout`` and
                ``target_edges``; the default, on all edges, is that of ranking.
        """
        return representations(self, self.graph, nodes_of(self, features_of(self)), attention)

    def forward(self, batch: "Batch | NeighborBatch") -> Tensor:
        """The training loss of a batch with one negative per pair or more.

        Args:
            batch: pairs; a ``NeighborBatch``, whose loss is computed on its part of the graph.

        Raises:
            TypeError: for what is no batch of indices.
            ValueError: for indices out of range, and a ``NeighborBatch`` with ``refresh_every``.
        """
        check_batch(batch, self, negatives=True)
        rows = self.items_of(Batch(*batch[:3]))
        graph: Graph = self.graph
        users_at, items_at = batch[0], rows
        if isinstance(batch, NeighborBatch):
            check_nodes(batch, self, self.refresh_every)
            graph, users, items = batch, batch.user_nodes, batch.item_nodes
            nodes = nodes_of(self, features_of(self, items), users, items)
            users_at = torch.searchsorted(users, users_at)
            items_at = torch.searchsorted(items, rows)
        elif isinstance(self.cache, OutputCache) and self.training and torch.is_grad_enabled():
            nodes = nodes_of(self, self.cache(partial(projected, self), distinct(rows).values))
        else:
            nodes = nodes_of(self, features_of(self))
        items_at = items_at.view(len(batch[0]), -1)
        attention = attention_of(self, graph, users_at, items_at[:, 0])
        all_users, all_items = representations(self, graph, nodes, attention)
        u, i = take(all_users, users_at), take(all_items, items_at)
        scores = widen(torch.linalg.vecdot(u.unsqueeze(1), i))
        loss: Tensor = F.softplus(scores[:, 1:] - scores[:, :1]).mean()
        read = [self.user_embedding(batch[0]), self.item_embedding(rows)]
        read += [preference(batch[0]) for preference in self.preferences.values()]
        return loss + self.reg_weight * torch.stack([x.square().mean() for x in read]).sum()

    def scores(self, users: Tensor) -> Tensor:
        """Scores of every item for some users, (B, num_items)."""
        return self.scorer()(users)

    def scorer(self) -> Callable[[Tensor], Tensor]:
        """``scores`` after one pass over the graph for all users."""
        return dot_scorer(*self.vectors())

    @torch.no_grad()
    def vectors(self) -> Vectors:
        """The representations of all users and items, each (n, width)."""
        return Vectors(*self.representations())

    @torch.no_grad()
    def new_scorer(self, features: NewFeatures) -> Callable[[Tensor], Tensor]:
        """Scores of items that training has not met: nodes without edges, whose id part is 0."""
        if self.fusion is id_fusion:
            raise NotImplementedError(
                "GRCN with id_fusion cannot rank items that training has not met: all it scores "
                "by is ids. Use concat_fusion or mean_fusion."
            )
        x = new_features(self.features, features, self.item_embedding.weight)
        parts = [activated(self, m, x[m]) for m in self.projections]
        users, _ = self.representations()
        return dot_scorer(users, self.fusion(torch.zeros_like(parts[0]), parts))

    def items_of(self, batch: Batch) -> Tensor:
        """Each positive item and its negatives, pair by pair."""
        return items_with_negatives(batch)
