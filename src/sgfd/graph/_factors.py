"""Factors of edges that leave some of them out of a training step."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sgfd._checks import check_number
from sgfd._tensor_checks import check_indices, check_range
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
    """Which edges are not those of some pairs, in both directions.

    The pairs of a training step are edges of the graph too, and by its own edge a pair is told from
    others without anything learned of its like (target edges: Zhu et al., "SpotTarget", 2023).
    Weights times this have no messages along them; for attention that is as without the edges, mask
    the scores as well, before ``edge_softmax``. How many of the messages a step loses grows with
    the batch.

    Args:
        edges: ``graph.to_users`` or ``graph.to_items``.
        rows: (n,) integers, where the edges end: users, of ``graph.to_users``.
        columns: (n,) integers, where they begin.

    Returns:
        (E,) of the weights' dtype, by user, then by item: 0 for these pairs, 1 for all others.
        Pairs without an edge, and repeated ones, are no matter.

    Raises:
        TypeError: for what are no tensors of indices.
        ValueError: for other shapes; on a CPU, for indices out of range.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite, mask_edges
        >>> graph = Bipartite(csr_array([[1, 1], [0, 1]]))
        >>> mask_edges(graph.to_users, torch.tensor([0, 1]), torch.tensor([1, 0]))
        tensor([1., 0., 1.])
    """
    for name, part in (("rows", rows), ("columns", columns)):
        check_indices(f"{name} must be", part)
    if rows.ndim != 1 or rows.shape != columns.shape:
        raise ValueError(
            "rows and columns must be (n,), of the same pairs; got shapes "
            f"{tuple(rows.shape)} and {tuple(columns.shape)}."
        )
    there = torch.ones_like(checked_edges(edges).weights)
    if len(rows) and rows.device.type == "cpu" and not torch.compiler.is_compiling():
        check_range("rows must be", rows, edges.num_rows)
        check_range("columns must be", columns, edges.num_columns)
    if not len(there):
        return there
    # Ascending, as rows are in order and so are the columns of each.
    keys = edge_rows(edges.ptr, edges.column) * edges.num_columns + edges.column
    wanted = rows.long() * edges.num_columns + columns
    places = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
    stays = (keys[places] != wanted).to(there.dtype)
    places = edges.edge[places].long() if len(edges.edge) else places
    return there.scatter_reduce(0, places, stays, "amin")
