"""The graph of who interacted with what."""

import numpy as np
import torch
from scipy.sparse import csr_array, csr_matrix
from torch import Tensor, nn


class Bipartite(nn.Module):
    r"""Users' interactions with items in both directions, symmetrically normalized.

    .. math:: \hat R_{ui} = \frac{1}{\sqrt{(d_u + \epsilon)\,(d_i + \epsilon)}}

    for every interaction (u, i), d being degrees. The tensors are buffers, so that ``.to(device)``
    moves them, and stay out of checkpoints.

    Args:
        interactions: (num_users, num_items), a SciPy CSR array or matrix; what is stored and not
            zero is an interaction, whatever its value.
        epsilon: added to the degrees, as LightGCN's descendants do.

    Raises:
        ValueError: for duplicate entries.

    Example:
        >>> from scipy.sparse import csr_array
        >>> from sgfd.graph import Bipartite
        >>> graph = Bipartite(csr_array([[1, 1, 0], [0, 1, 0]]))
        >>> graph
        Bipartite(num_users=2, num_items=3, num_edges=3)
    """

    user_ptr: Tensor
    user_items: Tensor
    user_weights: Tensor
    item_ptr: Tensor
    item_users: Tensor
    item_weights: Tensor

    def __init__(self, interactions: "csr_array | csr_matrix", *, epsilon: float = 1e-7) -> None:
        super().__init__()
        by_user = csr_array(interactions, copy=True)
        stored = by_user.nnz
        by_user.sum_duplicates()
        if by_user.nnz != stored:
            raise ValueError(
                f"interactions must hold each (user, item) once; {stored - by_user.nnz} of "
                f"{stored} entries repeat one. Call sum_duplicates() on it first."
            )
        by_user.eliminate_zeros()
        self.num_users, self.num_items = by_user.shape
        self.num_edges = by_user.nnz
        users = 1 / np.sqrt(np.diff(by_user.indptr) + epsilon)
        items = 1 / np.sqrt(np.diff(by_user.tocsc().indptr) + epsilon)
        row, column = by_user.nonzero()
        by_user.data = users[row] * items[column]
        self._register("user", "items", by_user)
        self._register("item", "users", csr_array(by_user.T))

    def _register(self, source: str, target: str, matrix: csr_array) -> None:
        matrix.sort_indices()
        dtype = torch.get_default_dtype()
        for name, values in (
            (f"{source}_ptr", torch.from_numpy(matrix.indptr.astype(np.int64))),
            (f"{source}_{target}", torch.from_numpy(matrix.indices.astype(np.int64))),
            (f"{source}_weights", torch.from_numpy(matrix.data).to(dtype)),
        ):
            self.register_buffer(name, values, persistent=False)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"num_users={self.num_users}, num_items={self.num_items}, num_edges={self.num_edges}"
