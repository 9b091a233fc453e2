"""A batch's part of the graph: its nodes, and neighbors drawn hop by hop."""

from collections.abc import Sequence
from typing import NamedTuple
from zlib import crc32

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sgfd._checks import check_integer
from sgfd._tensor_checks import check_indices, check_range
from sgfd.graph._bipartite import EPSILON, Bipartite, Edges, edge_rows
from sgfd.graph._draw import Neighbors


class NeighborBatch(NamedTuple):
    """Training pairs with sampled negatives, as ``Batch``, and the part of the graph around them.

    It is read wherever a ``Batch`` is; GRCN's training loss then computes on that part alone.

    Attributes:
        users: (B,) int64, in the numbering of all users, like those below.
        items: (B,) int64.
        negatives: (B, n) int64.
        user_nodes: (U',) int64, the part's users, ascending: the user of each row of ``to_users``.
        item_nodes: (I',) int64, the part's items, ascending: the item of each of its columns.
        to_users: the edges between them, normalized by degrees in the whole graph.
    """

    users: Tensor
    items: Tensor
    negatives: Tensor
    user_nodes: Tensor
    item_nodes: Tensor
    to_users: Edges

    @property
    def to_items(self) -> Edges:
        """The same edges in the other direction."""
        forth, back = self.to_users[:3], self.to_users[3:6]
        return Edges(*back, *forth, self.to_users.weights)

    @property
    def edge_users(self) -> Tensor:
        """(E',) the row of each edge, in the order of values."""
        return edge_rows(self.to_users.ptr, self.to_users.column)

    @property
    def edge_items(self) -> Tensor:
        """(E',) the column of each edge, in the order of values."""
        return self.to_users.column

    def to(self, device: "torch.device | str") -> "NeighborBatch":
        """The same on another device."""
        edges = Edges(*(x.to(device) for x in self.to_users))
        return NeighborBatch(
            self.users.to(device),
            self.items.to(device),
            self.negatives.to(device),
            self.user_nodes.to(device),
            self.item_nodes.to(device),
            edges,
        )


class NeighborSampler:
    r"""Draws the part of the graph that a batch is computed on.

    From the batch's users, items and negatives on, every node that is new at a hop brings so many
    of its neighbors, drawn uniformly without replacement; the edges drawn carry messages both ways.
    A step then takes the memory of the part, not of the graph. Softmaxes over neighbors are over
    those drawn, so that loss and gradients are estimates, with a bias. They are those of the
    whole graph if all neighbors are taken, -1, over ``max(num_layers, 1) + 1`` hops of GRCN: an
    item's attention is over its users, whose prototypes come from all of their items.

    What is drawn depends on the seed and the batch alone, so that an epoch goes on from anywhere,
    and batches may be drawn in any thread or process; global generators are not touched.
    (``torch_geometric``'s loaders draw from torch's global generator, and by torch-sparse, where
    pyg-lib is not installed, the last of a node's neighbors less often than the others.)

    Args:
        interactions: (num_users, num_items) training interactions, as the model was given.
        num_neighbors: of a node at each hop, from the batch outwards; -1 for all. The part grows
            with their product: 1,024 pairs with (10, 5, 5) reached most of 300,000 nodes.
        seed: 0 or more.

    Raises:
        TypeError: for interactions that are not sparse.
        ValueError: for other numbers of neighbors.

    Example:
        >>> from sgfd.backbones import GRCN
        >>> from sgfd.data import PairSampler, synthetic_catalog
        >>> from sgfd.graph import NeighborSampler
        >>> data = synthetic_catalog()
        >>> model = GRCN(data.train, data.features, dim=8)
        >>> around = NeighborSampler(data.train, num_neighbors=[4, 2, 2], seed=0)
        >>> batches = PairSampler(data.train, batch_size=8, seed=0).epoch(0)
        >>> part = around(next(batches))
        >>> len(part.item_nodes) < data.num_items
        True
        >>> model(part).backward()
    """

    def __init__(
        self, interactions: csr_array, *, num_neighbors: Sequence[int] = (5, 3, 2), seed: int = 0
    ) -> None:
        if not isinstance(num_neighbors, Sequence) or not num_neighbors or 0 in num_neighbors:
            raise ValueError(
                "num_neighbors must have a number for each hop, -1 for all neighbors or at least "
                f"1, such as [5, 3, 2]; got {num_neighbors!r}."
            )
        for hop, number in enumerate(num_neighbors):
            check_integer(f"num_neighbors[{hop}]", number, at_least=-1)
        check_integer("seed", seed, at_least=0)
        graph = Bipartite(interactions)
        self.num_users, self.num_items = graph.num_users, graph.num_items
        self._num_neighbors, self._seed = tuple(num_neighbors), seed
        self._items = Neighbors(graph.user_ptr.numpy(), graph.user_items.numpy())
        self._users = Neighbors(graph.item_ptr.numpy(), graph.item_users.numpy())

    def __call__(self, batch: Sequence[Tensor]) -> NeighborBatch:
        """The batch and the part of the graph around it, on the CPU.

        Args:
            batch: users (B,), items (B,) and negatives (B, n), a ``Batch``.

        Raises:
            TypeError: for what is no batch of indices.
            ValueError: for indices that the graph has not.
        """
        users, items, negatives = self._checked(batch)
        digest = crc32(b"".join(x.numpy().tobytes() for x in (users, items, negatives)))
        random = np.random.default_rng(np.random.SeedSequence(self._seed, spawn_key=(digest,)))
        user_nodes = new_users = np.unique(users)
        item_nodes = new_items = np.unique(np.concatenate([items, negatives.flatten()]))
        keys = []
        for number in self._num_neighbors:
            of_user, found_items = self._items.draw(new_users, number, random)
            of_item, found_users = self._users.draw(new_items, number, random)
            keys += [of_user * self.num_items + found_items, found_users * self.num_items + of_item]
            new_users = np.setdiff1d(found_users, user_nodes)
            new_items = np.setdiff1d(found_items, item_nodes)
            user_nodes = np.union1d(user_nodes, new_users)
            item_nodes = np.union1d(item_nodes, new_items)
        # Both ends of an edge may have drawn it.
        of_users, of_items = np.divmod(np.unique(np.concatenate(keys)), self.num_items)
        there = np.searchsorted(user_nodes, of_users), np.searchsorted(item_nodes, of_items)
        shape = (len(user_nodes), len(item_nodes))
        part = Bipartite(csr_array((np.ones(len(of_users)), there), shape=shape))
        degrees = self._items.degrees(of_users) + EPSILON, self._users.degrees(of_items) + EPSILON
        weights = 1 / np.sqrt(degrees[0]) * (1 / np.sqrt(degrees[1]))
        return NeighborBatch(
            users,
            items,
            negatives,
            torch.from_numpy(user_nodes),
            torch.from_numpy(item_nodes),
            part.to_users._replace(weights=torch.from_numpy(weights).to(part.weights)),
        )

    def _checked(self, batch: Sequence[Tensor]) -> list[Tensor]:
        if not isinstance(batch, (tuple, list)) or len(batch) < 3:
            raise TypeError(
                "A batch must be a Batch or a tuple of users, items, negatives; got "
                f"{type(batch).__qualname__}."
            )
        parts = []
        for name, part in zip(("users", "items", "negatives"), batch, strict=False):
            check_indices(f"A batch's {name} must be", part)
            parts.append(part.cpu().long())
            if part.numel():
                size = self.num_users if name == "users" else self.num_items
                check_range(f"A batch's {name} must be", parts[-1], size)
        return parts
