"""The graph of who interacted with what."""

from typing import NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array, csr_matrix
from torch import Tensor, nn

from sgfd._checks import check_number, check_sparse

EPSILON = 1e-7  # added to degrees, as LightGCN's descendants do


class Edges(NamedTuple):
    """The edges of a graph in one direction, as the kernels read them; made by ``Bipartite``.

    Row r receives from the columns ``column[ptr[r]:ptr[r + 1]]``. Values of edges (weights, scores)
    are (E,) in one order, the same in both directions: by user, then by item.

    Attributes:
        ptr: (num_rows + 1,) where each row's edges begin.
        column: (E,) the column of each edge, by row.
        edge: (E,) the place of each edge in the order of values; empty where it is the same.
        back_ptr: ``ptr`` of the other direction.
        back_column: ``column`` of the other direction.
        back_edge: ``edge`` of the other direction.
        weights: (E,) the symmetric normalization.
    """

    ptr: Tensor
    column: Tensor
    edge: Tensor
    back_ptr: Tensor
    back_column: Tensor
    back_edge: Tensor
    weights: Tensor

    @property
    def num_rows(self) -> int:
        """Number of nodes that receive."""
        return self.ptr.shape[0] - 1  # not len(), at which torch 2.4's compiler fails

    @property
    def num_columns(self) -> int:
        """Number of nodes that send."""
        return self.back_ptr.shape[0] - 1


class Bipartite(nn.Module):
    r"""Users' interactions with items in both directions, symmetrically normalized.

    .. math:: \hat R_{ui} = \frac{1}{\sqrt{(d_u + \epsilon)\,(d_i + \epsilon)}}

    for every interaction (u, i), d being degrees. The tensors are buffers, so that ``.to(device)``
    moves them, and stay out of checkpoints.

    Args:
        interactions: (num_users, num_items), a SciPy CSR array or matrix; what is stored and not
            zero is an interaction, whatever its value.
        epsilon: added to the degrees, as LightGCN's descendants do.
        index_dtype: ``torch.int64`` or ``torch.int32``. With plain torch int32 is no
            faster, and only saves memory; torch-sparse knows int64 alone and makes a copy.

    Attributes:
        weights: (E,) the normalization, by user, then by item.

    Raises:
        ValueError: for duplicate entries, or an index that cannot count them.

    Example:
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite
        >>> graph = Bipartite(csr_array([[1, 1, 0], [0, 1, 0]]))
        >>> graph
        Bipartite(num_users=2, num_items=3, num_edges=3)
        >>> graph.to_users.num_rows, graph.to_items.num_rows
        (2, 3)
    """

    user_ptr: Tensor
    user_items: Tensor
    item_ptr: Tensor
    item_users: Tensor
    item_edges: Tensor
    weights: Tensor

    def __init__(
        self,
        interactions: "csr_array | csr_matrix",
        *,
        epsilon: float = EPSILON,
        index_dtype: torch.dtype = torch.int64,
    ) -> None:
        super().__init__()
        check_sparse("interactions", interactions)
        check_number("epsilon", epsilon, at_least=0)
        # Before the conversion, which adds up what a COO matrix repeats.
        stored = interactions.nnz
        by_user = csr_array(interactions, copy=True)
        by_user.sum_duplicates()
        if by_user.nnz != stored:
            raise ValueError(
                f"interactions must hold each (user, item) once; {stored - by_user.nnz} of "
                f"{stored} entries repeat one. Call sum_duplicates() on it first."
            )
        if np.isnan(by_user.data).any():
            raise ValueError("interactions must not hold NaN: is that an edge or none?")
        by_user.eliminate_zeros()
        self.num_users, self.num_items = by_user.shape
        self.num_edges = by_user.nnz
        if index_dtype not in (torch.int32, torch.int64) or (
            max(*by_user.shape, by_user.nnz) > torch.iinfo(index_dtype).max
        ):
            raise ValueError(
                "index_dtype must be torch.int64, or torch.int32 for fewer than 2**31 nodes and "
                f"edges; got {index_dtype} for {by_user.nnz} edges."
            )
        by_user.sort_indices()
        by_user.data = np.arange(by_user.nnz)
        by_item = by_user.tocsc()
        users = 1 / np.sqrt(np.diff(by_user.indptr) + epsilon)
        items = 1 / np.sqrt(np.diff(by_item.indptr) + epsilon)
        weights = np.repeat(users, np.diff(by_user.indptr)) * items[by_user.indices]
        for name, values, dtype in (
            ("user_ptr", by_user.indptr, index_dtype),
            ("user_items", by_user.indices, index_dtype),
            ("item_ptr", by_item.indptr, index_dtype),
            ("item_users", by_item.indices, index_dtype),
            ("item_edges", by_item.data, index_dtype),
            ("weights", weights, torch.get_default_dtype()),
        ):
            self.register_buffer(name, torch.tensor(values, dtype=dtype), persistent=False)

    @property
    def to_users(self) -> Edges:
        """Edges that bring users what their items have: rows are users, columns items."""
        return Edges(*self._by_user, *self._by_item, self.weights)

    @property
    def to_items(self) -> Edges:
        """Edges that bring items what their users have: rows are items, columns users."""
        return Edges(*self._by_item, *self._by_user, self.weights)

    @property
    def edge_users(self) -> Tensor:
        """(E,) the user of each edge, in the order of values."""
        return edge_rows(self.user_ptr, self.user_items)

    @property
    def edge_items(self) -> Tensor:
        """(E,) the item of each edge, in the order of values."""
        return self.user_items

    @property
    def _by_user(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.user_ptr, self.user_items, self.user_ptr[:0]

    @property
    def _by_item(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.item_ptr, self.item_users, self.item_edges

    def extra_repr(self) -> str:
        """The sizes."""
        return f"num_users={self.num_users}, num_items={self.num_items}, num_edges={self.num_edges}"


def edge_rows(ptr: Tensor, column: Tensor) -> Tensor:
    """(E,) the row of each edge, by row."""
    rows = torch.arange(len(ptr) - 1, device=ptr.device)
    return rows.repeat_interleave(ptr.diff(), output_size=len(column))
