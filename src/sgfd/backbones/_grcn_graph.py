"""GRCN on any graph: all nodes, or those that a batch was given."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, Protocol, TypeAlias, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgfd._features import FeatureTable
from sgfd._functional import Activation, activate, take
from sgfd._sources import CHUNK, in_chunks
from sgfd._tensor_checks import check_range
from sgfd.backbones._checks import Sized
from sgfd.backbones._grcn_steps import (
    Attention,
    Content,
    Graph,
    attend,
    partial_softmax,
    route,
    step,
)
from sgfd.graph import Edges, NeighborBatch, dropout_edges, edge_softmax, mask_edges, sddmm

Fusion: TypeAlias = Callable[[Tensor, Sequence[Tensor]], Tensor]


class Model(Protocol):
    """What is read of GRCN: its tables, and how it was told to compute."""

    features: nn.ModuleDict
    projections: nn.ModuleDict
    user_embedding: nn.Embedding
    item_embedding: nn.Embedding
    preferences: nn.ModuleDict
    user_confidence: nn.Parameter | None
    item_confidence: nn.Parameter | None
    num_routings: int
    num_layers: int
    training: bool
    dropout: float
    target_edges: bool
    pool: Callable[[Tensor, int], Tensor]
    prune: bool
    fusion: Fusion
    message_activation: Activation | None


class Nodes(NamedTuple):
    """What nodes have before any message, each (n, ...) in the order of the graph.

    Attributes:
        users: (N, D) id embeddings.
        items: (M, D).
        tastes: ``{modality: (N, D)}``, where users' prototypes start.
        features: ``{modality: (M, D)}``, projected.
        user_confidence: (N, modalities), or None.
        item_confidence: (M, modalities), or None.
    """

    users: Tensor
    items: Tensor
    tastes: Mapping[str, Tensor]
    features: Mapping[str, Tensor]
    user_confidence: Tensor | None
    item_confidence: Tensor | None


def activated(model: Model, modality: str, x: Tensor) -> Tensor:
    """Items' features as GRCN reads them, of raw ones (n, F)."""
    return activate(model.projections[modality](x), F.leaky_relu, normalize=True)


def projected(model: Model, modality: str, rows: Tensor | None) -> Tensor:
    """The same of some items; None for all."""
    weight, table = model.user_embedding.weight, model.features[modality]
    assert isinstance(table, FeatureTable)
    if rows is None and table.mapped is not None and not torch.is_grad_enabled():
        # So many at a time that the raw features need not fit in memory.
        chunks = in_chunks(table.num_rows, CHUNK, weight.device)
        return torch.cat([projected(model, modality, some) for some in chunks])
    return activated(model, modality, table(rows, weight.dtype))


def features_of(model: Model, rows: Tensor | None = None) -> dict[str, Tensor]:
    """The same of every modality."""
    return {m: projected(model, m, rows) for m in model.projections}


def nodes_of(
    model: Model,
    features: Mapping[str, Tensor],
    users: Tensor | None = None,
    items: Tensor | None = None,
) -> Nodes:
    """Some nodes, None for all, with their projected features."""
    return Nodes(
        _rows(model.user_embedding, users),
        _rows(model.item_embedding, items),
        {m: _rows(taste, users) for m, taste in model.preferences.items()},
        features,
        _confidence(model.user_confidence, users),
        _confidence(model.item_confidence, items),
    )


def attention_of(model: Model, graph: Graph, users: Tensor, items: Tensor) -> Attention:
    """That of a step on these pairs, which in training may see a part of the edges."""
    drops = model.training and model.dropout > 0
    hides = model.training and not model.target_edges
    if not drops and not hides:
        return edge_softmax
    return partial(
        partial_softmax,
        kept=dropout_edges(graph.to_users, model.dropout) if drops else None,
        there=mask_edges(graph.to_users, users, items) if hides else None,
    )


def contents(model: Model, graph: Graph, nodes: Nodes, attention: Attention) -> list[Content]:
    """Each modality's content representations and attention."""
    found = []
    for m, items in nodes.features.items():
        users = activate(nodes.tastes[m], None, normalize=True)
        users = route(graph, users, items, model.num_routings, attention)
        found.append(attend(graph, users, items, model.message_activation, attention))
    return found


def representations(
    model: Model, graph: Graph, nodes: Nodes, attention: Attention
) -> tuple[Tensor, Tensor]:
    """Users (N, width) and items (M, width)."""
    parts = contents(model, graph, nodes, attention)
    to_users = _weigh(model, graph.to_users, [c.to_users for c in parts], nodes.item_confidence)
    to_items = _weigh(model, graph.to_items, [c.to_items for c in parts], nodes.user_confidence)
    users = activate(nodes.users, None, normalize=True)
    items = activate(nodes.items, None, normalize=True)
    sum_users, sum_items = users, items
    for _ in range(model.num_layers):
        users, items = step(graph, users, items, to_users, to_items, model.message_activation)
        sum_users, sum_items = sum_users + users, sum_items + items
    return (
        model.fusion(sum_users, [c.users for c in parts]),
        model.fusion(sum_items, [c.items for c in parts]),
    )


def new_confidence(nodes: int, modalities: int, there: bool) -> nn.Parameter | None:
    """An initial confidence, if there is to be one."""
    return nn.Parameter(nn.init.xavier_normal_(torch.empty(nodes, modalities))) if there else None


def check_nodes(batch: NeighborBatch, model: Sized, refresh_every: int) -> None:
    """Raises ValueError for what GRCN cannot take; indices are looked at on the CPU only."""
    if refresh_every > 1:
        raise ValueError(
            "refresh_every must be 1 for a NeighborBatch, which reads the features of its own "
            f"nodes alone; got a model with refresh_every={refresh_every}."
        )
    named = torch.cat([batch.items.flatten(), batch.negatives.flatten()])
    for name, nodes, size, read in (
        ("user_nodes", batch.user_nodes, model.num_users, batch.users),
        ("item_nodes", batch.item_nodes, model.num_items, named),
    ):
        if nodes.device.type != "cpu" or torch.compiler.is_compiling():
            continue
        check_range(f"A batch's {name} must be", nodes, size)
        if not (nodes.diff() > 0).all() or not torch.isin(read, nodes).all():
            raise ValueError(
                f"A batch's {name} must ascend and hold all that its pairs name; they do not. "
                "Change pairs first, then let NeighborSampler draw the part around them."
            )


def _rows(table: nn.Module, rows: Tensor | None) -> Tensor:
    return cast("nn.Embedding", table).weight if rows is None else table(rows)


def _confidence(table: Tensor | None, rows: Tensor | None) -> Tensor | None:
    return table if table is None or rows is None else take(table, rows)


def _weigh(
    model: Model, edges: Edges, attention: list[Tensor], confidence: Tensor | None
) -> Tensor:
    if confidence is not None:
        # The sender's, as a product: the gradient of an index would be added edge by edge.
        ones = confidence.new_ones(edges.num_rows, 1)
        each = zip(attention, confidence.unbind(-1), strict=True)
        attention = [shares * sddmm(edges, ones, sender[:, None]) for shares, sender in each]
    weights = model.pool(torch.stack(attention, dim=-1), -1)
    return weights.relu() if model.prune else weights
