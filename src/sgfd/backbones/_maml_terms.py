"""The terms of MAML's loss, each a function of plain tensors."""

import torch
from torch import Tensor

from sgfd._checks import check_number, check_tensor
from sgfd._functional import widen


def weighted_distance(weights: Tensor, users: Tensor, items: Tensor) -> Tensor:
    r""":math:`\lVert a \odot u - a \odot i\rVert_2^2` per pair.

    Args:
        weights: (..., D).
        users: (..., D).
        items: (..., D).

    Returns:
        (...), the three broadcast.

    Example:
        >>> import torch
        >>> from sgfd.backbones import weighted_distance
        >>> weighted_distance(torch.tensor([2.0, 0.0]), torch.tensor([3.0, 1.0]), torch.zeros(2))
        tensor(36.)
    """
    for name, x in (("weights", weights), ("users", users), ("items", items)):
        check_tensor(name, x)
    if len({x.shape[-1:] for x in (weights, users, items)}) > 1:
        shapes = [tuple(x.shape) for x in (weights, users, items)]
        raise ValueError(f"weights, users and items must have one width D; got shapes {shapes}.")
    return ((widen(users) - widen(items)) * widen(weights)).square().sum(-1)


def rank_weighted_hinge(
    positives: Tensor, negatives: Tensor, *, margin: float, num_items: int
) -> Tensor:
    r"""A hinge on the closest negative, weighted by how many negatives are too close.

    .. math::
        \log(1 + M r)\, \max(d^+ - \min_n d^-_n + \mu, 0), \qquad
        r = \frac1W \sum_{n=1}^{W} [d^+ - d^-_n + \mu > 0]

    M r estimates the rank of the positive among the M items from the W sampled ones (Weston et
    al., 2010; Hsieh et al., WWW 2017). No gradient flows through it.

    Args:
        positives: (B,) distances of the users to their items.
        negatives: (B, W) to the sampled negatives, W at least 1.
        margin: above 0.
        num_items: M.

    Returns:
        (B,).

    Example:
        >>> import torch
        >>> from sgfd.backbones import rank_weighted_hinge
        >>> near, far = torch.tensor([1.0, 1.0]), torch.tensor([[1.5, 9.0], [3.0, 9.0]])
        >>> rank_weighted_hinge(near, far, margin=1.0, num_items=10)
        tensor([0.8959, 0.0000])
    """
    check_tensor("positives", positives)
    check_tensor("negatives", negatives)
    check_number("margin", margin, above=0)
    if negatives.shape[:-1] != positives.shape or negatives.numel() == 0:
        raise ValueError(
            "negatives must be (B, W), W >= 1, for positives (B,); got "
            f"{tuple(negatives.shape)} for {tuple(positives.shape)}."
        )
    violations = widen(positives).unsqueeze(-1) - widen(negatives) + margin
    rank = num_items * (violations > 0).to(violations.dtype).mean(-1)
    return violations.amax(-1).relu() * rank.log1p()


def covariance_penalty(x: Tensor) -> Tensor:
    r"""The squared covariances between dimensions, :math:`\sum_{k \ne l} C_{kl}^2`.

    0 where no two dimensions say the same (Hsieh et al., WWW 2017). The authors' code adds the
    covariances with their signs: two of them of opposite sign cancel, and the sum is lowest not
    where dimensions are uncorrelated but where they are all opposed.

    Args:
        x: (N, D).

    Returns:
        A scalar.

    Example:
        >>> import torch
        >>> from sgfd.backbones import covariance_penalty
        >>> covariance_penalty(torch.tensor([[1.0, 1.0], [-1.0, -1.0]]))
        tensor(2.)
    """
    check_tensor("x", x)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"x must be (N, D), neither of them 0; got shape {tuple(x.shape)}.")
    x = widen(x)
    x = x - x.mean(0)
    with torch.autocast(x.device.type, enabled=False):
        covariance = x.T @ x / len(x)
    return (covariance - covariance.diagonal().diag()).square().sum()


def clip_rows(x: Tensor) -> Tensor:
    """Rows longer than 1 divided by their length, the others as they are.

    Args:
        x: (..., D).

    Returns:
        (..., D).

    Example:
        >>> import torch
        >>> from sgfd.backbones import clip_rows
        >>> clip_rows(torch.tensor([[3.0, 4.0], [0.3, 0.4]]))
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    check_tensor("x", x)
    if not x.is_floating_point():
        raise ValueError(f"x must be floating; got {x.dtype}.")
    length: Tensor = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    return x / length.clamp(min=1)
