"""Item features from who consumes the item."""

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from sgfd._checks import check_integer, check_sparse

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def behavior_features(
    interactions: "csr_array", dim: int = 32, *, seed: int = 0
) -> npt.NDArray[np.float32]:
    r"""Items as directions in the space of who consumes them.

    The item side of a regularized spectral co-clustering (DI-SIM: Rohe, Qin and Yu, PNAS 2016).
    With :math:`A` the interactions, :math:`D` the degrees of users and items and
    :math:`\tau` their means,

    .. math::
        (D_u + \tau_u)^{-1/2} A (D_i + \tau_i)^{-1/2} \approx U \Sigma V^\top
        \quad\text{(rank dim)}, \qquad x_i = (V\Sigma)_i / \lVert (V\Sigma)_i \rVert.

    The inner product of two rows is then how alike their consumers are, popularity divided out.
    Without :math:`\tau` the leading directions of a sparse catalog are its handfuls of items that
    hang together by one user. Made for ``pseudo_labels``, which turns them into labels.

    Args:
        interactions: (num_users, num_items) SciPy sparse, ones or positive weights. Give the
            training part only (``dataset.train``): with held-out pairs in it the labels would
            tell the model what it is tested on.
        dim: directions kept, less than the users and the items that have interactions.
        seed: of the vector that ARPACK starts from; beyond signs and rounding the result does
            not depend on it.

    Returns:
        (num_items, dim) unit rows; NaN for items without interactions, and for those that the
        leading directions do not reach (a few items sharing no user with the rest).

    Raises:
        TypeError: if interactions are not sparse.
        ValueError: if they are negative, not finite or empty, or ``dim`` is out of range.

    Example:
        >>> from sgfd import behavior_features
        >>> from sgfd.data import synthetic_catalog
        >>> data = synthetic_catalog()
        >>> behavior_features(data.train, 16).shape == (data.num_items, 16)
        True
    """
    from scipy.sparse.linalg import svds

    check_integer("dim", dim, at_least=1)
    check_integer("seed", seed, at_least=0)
    matrix = _checked(interactions)
    consumed = matrix.sum(axis=0) > 0
    matrix = matrix[matrix.sum(axis=1) > 0][:, consumed]
    if dim >= min(matrix.shape):
        raise ValueError(
            "dim must be less than the users and the items that have interactions "
            f"({matrix.shape[0]} and {matrix.shape[1]}); got {dim}."
        )
    users, items = (_damped(matrix.sum(axis=axis)) for axis in (1, 0))
    normalized = matrix.multiply(users[:, None]).multiply(items[None]).tocsr()
    start = np.random.default_rng(seed).standard_normal(min(matrix.shape))
    _, strength, directions = svds(normalized, k=dim, v0=start)
    # svds gives the weakest first.
    rows = (directions * strength[:, None]).T[:, ::-1]
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    # A row as short as a rounding error has no direction.
    rows[length[:, 0] <= np.sqrt(np.finfo(np.float64).eps) * length.max()] = np.nan
    features = np.full((len(consumed), dim), np.nan, dtype=np.float32)
    features[consumed] = rows / length
    return features


def _checked(interactions: Any) -> Any:
    from scipy.sparse import csr_array

    check_sparse("interactions", interactions)
    matrix = csr_array(interactions).astype(np.float64)
    if not np.isfinite(matrix.data).all() or (matrix.data < 0).any():
        raise ValueError("interactions must be finite and not negative: ones, or weights.")
    if not matrix.data.any():
        raise ValueError(f"interactions must hold some; got none in {matrix.shape}.")
    return matrix


def _damped(degrees: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    damped: npt.NDArray[np.float64] = 1 / np.sqrt(degrees + degrees.mean())
    return damped
