"""The steps of GRCN on plain tensors, and its ways of fusing."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from sgfd._checks import check_tensor
from sgfd._functional import Activation, activate
from sgfd.graph import Bipartite, Edges, NeighborBatch, edge_softmax, sddmm, spmm

Graph: TypeAlias = "Bipartite | NeighborBatch"
# (edges, scores (E,)) -> shares of a receiver's neighbors (E,)
Attention: TypeAlias = Callable[[Edges, Tensor], Tensor]
NOWHERE = -1e4  # a score whose exponential is 0 in any dtype


class Content(NamedTuple):
    """What one modality says.

    Attributes:
        users: (num_users, D) content representations.
        items: (num_items, D).
        to_users: (E,) attention of each user among its items.
        to_items: (E,) attention of each item among its users.
    """

    users: Tensor
    items: Tensor
    to_users: Tensor
    to_items: Tensor


def route(
    graph: Graph,
    users: Tensor,
    items: Tensor,
    times: int,
    attention: Attention,
) -> Tensor:
    """Users' unit prototypes (num_users, D) after gathering from their items ``times`` times."""
    for _ in range(times):
        scores = sddmm(graph.to_users, users, items)
        gathered = spmm(graph.to_users, items, attention(graph.to_users, scores))
        users = activate(users + gathered, None, normalize=True)
    return users


def attend(
    graph: Graph,
    users: Tensor,
    items: Tensor,
    activation: Activation | None,
    attention: Attention,
) -> Content:
    """Both sides with what they gather from their neighbors by attention."""
    # One score per edge serves both directions, which differ in whom the softmax is over.
    scores = sddmm(graph.to_users, users, items)
    to_users = attention(graph.to_users, scores)
    to_items = attention(graph.to_items, scores)
    from_items, from_users = step(graph, users, items, to_users, to_items, activation)
    return Content(users + from_items, items + from_users, to_users, to_items)


def step(
    graph: Graph,
    users: Tensor,
    items: Tensor,
    to_users: Tensor,
    to_items: Tensor,
    activation: Activation | None,
) -> tuple[Tensor, Tensor]:
    """One message in both directions along weighted edges."""
    return (
        activate(spmm(graph.to_users, items, to_users), activation, normalize=False),
        activate(spmm(graph.to_items, users, to_items), activation, normalize=False),
    )


def partial_softmax(
    edges: Edges, scores: Tensor, *, kept: Tensor | None, there: Tensor | None
) -> Tensor:
    """``edge_softmax`` with (E,) factors, None for 1.

    Edges that are not ``there`` have no share and take none; those not ``kept`` lose theirs.
    """
    if there is not None:
        # Scores are of unit vectors: beside another edge's, these are nothing.
        scores = torch.where(there > 0, scores, NOWHERE)
    shares = edge_softmax(edges, scores)
    # Of a receiver without any other edge they would have all.
    for factors in (kept, there):
        shares = shares if factors is None else shares * factors
    return shares


def concat_fusion(ids: Tensor, contents: Sequence[Tensor]) -> Tensor:
    """The id part beside the content parts, (N, (1 + modalities) * D).

    Example:
        >>> import torch
        >>> from sgfd.backbones import concat_fusion
        >>> concat_fusion(torch.tensor([[1.0, 2.0]]), [torch.tensor([[3.0, 4.0]])])
        tensor([[1., 2., 3., 4.]])
    """
    _check_parts(ids, contents)
    return torch.cat([ids, *contents], dim=-1)


def mean_fusion(ids: Tensor, contents: Sequence[Tensor]) -> Tensor:
    """The mean of the id part and the content parts, (N, D).

    Example:
        >>> import torch
        >>> from sgfd.backbones import mean_fusion
        >>> mean_fusion(torch.tensor([[1.0, 2.0]]), [torch.tensor([[3.0, 8.0]])])
        tensor([[2., 5.]])
    """
    _check_parts(ids, contents)
    return torch.stack([ids, *contents]).mean(0)


def id_fusion(ids: Tensor, contents: Sequence[Tensor]) -> Tensor:  # noqa: ARG001
    """The id part alone, (N, D): content then acts through the weights of edges only.

    Example:
        >>> import torch
        >>> from sgfd.backbones import id_fusion
        >>> id_fusion(torch.tensor([[1.0, 2.0]]), [torch.tensor([[3.0, 4.0]])])
        tensor([[1., 2.]])
    """
    return ids


def _check_parts(ids: Tensor, contents: Sequence[Tensor]) -> None:
    for part in (ids, *contents):
        check_tensor("A part of a representation", part)
    if len({part.shape for part in (ids, *contents)}) > 1:
        shapes = [tuple(part.shape) for part in (ids, *contents)]
        raise ValueError(f"The parts to fuse must have one shape, (N, D); got {shapes}.")
