"""One step of message passing over the whole graph."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from sgfd._functional import widen
from sgfd.graph._backend import backend
from sgfd.graph._bipartite import Bipartite


def propagate(graph: Bipartite, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    r"""Every node's weighted sum over its neighbors, :math:`(\hat R I,\; \hat R^\top U)`.

    The normalized adjacency is symmetric, so the gradient is the same step taken with the
    gradients: no second structure and no tensor of edges by width.

    Args:
        graph: N users by M items.
        users: (N, D), floating; half precision is computed in float32, which the CPU's kernels
            need, also under autocast.
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
    if users.shape[0] != graph.num_users or items.shape[0] != graph.num_items:
        raise ValueError(
            f"users and items must have one row per node ({graph.num_users} and "
            f"{graph.num_items}); got shapes {tuple(users.shape)} and {tuple(items.shape)}."
        )
    new_users, new_items = _Propagate.apply(graph, users, items)  # type: ignore[no-untyped-call]
    return new_users, new_items


class _Propagate(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, graph: Bipartite, users: Tensor, items: Tensor
    ) -> tuple[Tensor, Tensor]:
        ctx.graph = graph  # type: ignore[attr-defined]
        return _step(graph, users, items)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, users: Tensor, items: Tensor) -> tuple[None, Tensor, Tensor]:
        return None, *_step(ctx.graph, users, items)  # type: ignore[attr-defined]


def _step(graph: Bipartite, users: Tensor, items: Tensor) -> tuple[Tensor, Tensor]:
    product = _torch_sparse if backend().name == "torch-sparse" else _torch
    with torch.autocast(users.device.type, enabled=False):
        return (
            product(graph.user_ptr, graph.user_items, graph.user_weights, widen(items)).to(items),
            product(graph.item_ptr, graph.item_users, graph.item_weights, widen(users)).to(users),
        )


def _torch(ptr: Tensor, index: Tensor, weights: Tensor, x: Tensor) -> Tensor:
    size = (len(ptr) - 1, len(x))
    matrix = torch.sparse_csr_tensor(ptr, index, weights.to(x.dtype), size, check_invariants=False)
    return matrix @ x


def _torch_sparse(ptr: Tensor, index: Tensor, weights: Tensor, x: Tensor) -> Tensor:
    product: Tensor = torch.ops.torch_sparse.spmm_sum(
        None, ptr, index, weights.to(x.dtype), None, None, x.detach().contiguous()
    )
    return product
