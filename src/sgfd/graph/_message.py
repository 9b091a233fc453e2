"""Message passing along the edges of a bipartite graph, one step at a time."""

import torch
from torch import Tensor

from sgfd._checks import check_tensor
from sgfd._functional import widen
from sgfd.graph import _ops
from sgfd.graph._backend import backend
from sgfd.graph._bipartite import Bipartite, Edges


def spmm(edges: Edges, x: Tensor, weights: Tensor | None = None) -> Tensor:
    r"""Each row's weighted sum of what its columns have, :math:`y_r = \sum_{e=(r,c)} w_e x_c`.

    Gradients go to ``x`` and to ``weights``, and nothing of the size of edges by width is held.

    Args:
        edges: ``graph.to_users`` or ``graph.to_items``.
        x: (num_columns, D), floating; half precision is computed in float32, also under autocast.
        weights: (E,) by user, then by item, of either direction; None for the graph's symmetric
            normalization.

    Returns:
        (num_rows, D), of x's dtype.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite, spmm
        >>> graph = Bipartite(csr_array([[1, 1], [0, 1]]))
        >>> spmm(graph.to_users, torch.tensor([[1.0], [10.0]]), torch.tensor([1.0, 2.0, 3.0]))
        tensor([[21.],
                [30.]])
    """
    _check_rows("x", checked_edges(edges), x, edges.back_ptr)
    if weights is None:
        wide = widen(x)
        weights = edges.weights.to(wide.dtype)
    else:
        weights, wide = _alike(_checked_values("weights", edges, weights), x)
    out: Tensor = _ops.spmm(list(edges[:6]), weights, wide, _backend())
    return out.to(x.dtype)


def sddmm(edges: Edges, x: Tensor, y: Tensor) -> Tensor:
    r"""One score per edge, :math:`s_e = \langle x_r, y_c\rangle` for e = (r, c).

    Args:
        edges: ``graph.to_users`` or ``graph.to_items``.
        x: (num_rows, D), floating; half precision is computed in float32, also under autocast.
        y: (num_columns, D).

    Returns:
        (E,) by user, then by item, of x's dtype.

    Raises:
        ValueError: for other shapes.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite, sddmm
        >>> graph = Bipartite(csr_array([[1, 1], [0, 1]]))
        >>> sddmm(graph.to_users, torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [5.0]]))
        tensor([ 3.,  5., 10.])
    """
    _check_rows("x", checked_edges(edges), x, edges.ptr)
    _check_rows("y", edges, y, edges.back_ptr)
    if x.shape[1] != y.shape[1]:
        raise ValueError(f"x and y must be equally wide; got {x.shape[1]} and {y.shape[1]}.")
    wide_x, wide_y = _alike(x, y)
    scores: Tensor = _ops.sddmm(list(edges[:6]), wide_x, wide_y, _backend())
    return scores.to(x.dtype)


def edge_softmax(edges: Edges, scores: Tensor) -> Tensor:
    r"""The softmax of each row's scores, :math:`a_e = \exp(s_e) / \sum_{e' \to r} \exp(s_{e'})`.

    Args:
        edges: ``graph.to_users``: among each user's items; ``graph.to_items``: among each item's
            users.
        scores: (E,) by user, then by item; half precision is computed in float32.

    Returns:
        (E,) likewise, of the scores' dtype.

    Raises:
        ValueError: for another shape.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite, edge_softmax
        >>> graph = Bipartite(csr_array([[1, 1], [0, 1]]))
        >>> edge_softmax(graph.to_items, torch.zeros(3))
        tensor([1.0000, 0.5000, 0.5000])
    """
    _checked_values("scores", checked_edges(edges), scores)
    shares: Tensor = _ops.edge_softmax(list(edges[:6]), widen(scores), _backend())
    return shares.to(scores.dtype)


def propagate(graph: Bipartite, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    r"""Every node's normalized sum over its neighbors, :math:`(\hat R I,\; \hat R^\top U)`.

    Args:
        graph: N users by M items.
        users: (N, D), floating.
        items: (M, D), of the same dtype and device.

    Returns:
        New users (N, D) and items (M, D).

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite, propagate
        >>> graph = Bipartite(csr_array([[1, 1], [0, 1]]))
        >>> users, items = propagate(graph, torch.eye(2), torch.eye(2))
        >>> torch.allclose(users, items.T)
        True
    """
    if not isinstance(graph, Bipartite):
        raise TypeError(f"graph must be a Bipartite; got {type(graph).__qualname__}.")
    check_tensor("users", users)
    check_tensor("items", items)
    if users.shape[:1] != (graph.num_users,) or items.shape[:1] != (graph.num_items,):
        raise ValueError(
            f"users and items must have one row per node ({graph.num_users} and "
            f"{graph.num_items}); got shapes {tuple(users.shape)} and {tuple(items.shape)}."
        )
    return spmm(graph.to_users, items), spmm(graph.to_items, users)


def _backend() -> str:
    # A compiler cannot follow the choice; the kernels then make it when they run.
    return "auto" if torch.compiler.is_compiling() else backend().name


def _alike(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    return a.to(dtype), b.to(dtype)


def checked_edges(edges: Edges) -> Edges:
    """The edges, or TypeError for what are none."""
    if not isinstance(edges, Edges):
        raise TypeError(
            "The edges must be graph.to_users or graph.to_items, a direction of a Bipartite; got "
            f"{type(edges).__qualname__}."
        )
    return edges


def _check_floating(name: str, edges: Edges, x: Tensor) -> None:
    check_tensor(name, x)
    if not x.is_floating_point():
        raise TypeError(f"{name} must be floating, or what comes out is cut; got {x.dtype}.")
    if x.device != edges.ptr.device:
        raise ValueError(
            f"{name} must be on the graph's device ({edges.ptr.device}); got {x.device}."
        )


def _check_rows(name: str, edges: Edges, x: Tensor, ptr: Tensor) -> None:
    _check_floating(name, edges, x)
    rows = ptr.shape[0] - 1  # edges' properties would break the graph of torch 2.4's compiler
    if x.ndim != 2 or x.shape[0] != rows:
        raise ValueError(
            f"{name} must be ({rows}, D), one row per node; got shape {tuple(x.shape)}."
        )


def _checked_values(name: str, edges: Edges, values: Tensor) -> Tensor:
    _check_floating(name, edges, values)
    if values.shape != edges.weights.shape:
        raise ValueError(
            f"{name} must be {tuple(edges.weights.shape)}, one per edge by user, then by item; "
            f"got shape {tuple(values.shape)}."
        )
    return values
