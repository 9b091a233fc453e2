"""Factors of edges that leave some of them out of a training step."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sgfd._checks import check_number
from sgfd.graph._bipartite import Edges, edge_rows
from sgfd.graph._message import checked_edges


def dropout_edges(edges: Edges, p: float, *, training: bool = True) -> Tensor:
    """Factors that drop each edge with probability ``p``, in both directions alike.

    Multiply weights by them: after ``edge_softmax`` too, so that the expected message stays.

    Args:
        edges: ``graph.to_users`` or ``graph.to_items``.
        p: in 0..1 (1 excluded).
        training: False drops nothing.

    Returns:
        (E,) of the weights' dtype: 0, or 1 / (1 - p).

    Raises:
        ValueError: if p is out of range.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite, dropout_edges
        >>> graph = Bipartite(csr_array([[1, 1], [0, 1]]))
        >>> dropout_edges(graph.to_users, 0.5, training=False)
        tensor([1., 1., 1.])
    """
    check_number("p", p, at_least=0, below=1)
    return F.dropout(torch.ones_like(checked_edges(edges).weights), p, training)


def mask_edges(edges: Edges, rows: Tensor, columns: Tensor) -> Tensor:
    """Factors that leave out the edges of some pairs, in both directions.

    The pairs of a training step are edges of the graph too, and by its own edge a pair is told from
    others without anything being learned of its like. Left out, they are as test pairs are.

    Args:
        edges: ``graph.to_users`` or ``graph.to_items``.
        rows: (n,) int64, where the edges end: users, of ``graph.to_users``.
        columns: (n,) int64, where they begin.

    Returns:
        (E,) of the weights' dtype, by user, then by item: 0 for these pairs, 1 for all others.
        Pairs without an edge, and repeated ones, are no matter.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite, mask_edges
        >>> graph = Bipartite(csr_array([[1, 1], [0, 1]]))
        >>> mask_edges(graph.to_users, torch.tensor([0, 1]), torch.tensor([1, 0]))
        tensor([1., 0., 1.])
    """
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(
            "rows and columns must be (n,), of the same pairs; got shapes "
            f"{tuple(rows.shape)} and {tuple(columns.shape)}."
        )
    kept = torch.ones_like(checked_edges(edges).weights)
    if not len(kept):
        return kept
    # Ascending, as rows are in order and so are the columns of each.
    keys = edge_rows(edges.ptr, edges.column) * edges.num_columns + edges.column
    wanted = rows * edges.num_columns + columns
    places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    stays = (keys[places] != wanted).to(kept.dtype)
    places = edges.edge[places].long() if len(edges.edge) else places
    return kept.scatter_reduce(0, places, stays, "amin")
