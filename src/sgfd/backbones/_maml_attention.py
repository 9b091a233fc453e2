"""MAML's attention: which dimensions count between one user and one item."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sgfd._checks import check_integer, check_tensor
from sgfd._functional import take, widen
from sgfd.backbones._maml_terms import weighted_distance


class AttentionInput(NamedTuple):
    """One side's share of the attention's input, computed once per row instead of per pair.

    Attributes:
        hidden: (..., 5 * dim), the side's rows through its columns of the hidden layer.
        square: (..., 1), their squared length.
    """

    hidden: Tensor
    square: Tensor

    def at(self, rows: Tensor) -> "AttentionInput":
        """Some rows, repeated or not."""
        return AttentionInput(take(self.hidden, rows), take(self.square, rows))


class MetricAttention(nn.Module):
    r"""Weights of the dimensions of a distance, by user and item (Liu et al., MM 2019).

    .. math::
        a = D\, \sigma(\text{relu}(W_2\, \nu(\tanh(W_1\, \nu([u; i; f]) + b_1)) + b_2))

    with :math:`\nu(x) = x / \lVert x\rVert` and :math:`\sigma` a softmax: the D weights sum to D.
    Since :math:`W_1` is linear, users and items go through it once each (``of_users``,
    ``of_items``), and a pair (``weights``) is left with a sum, a division and the second layer.

    Args:
        dim: width D of users, items and features.

    Example:
        >>> import torch
        >>> from sgfd.backbones import MetricAttention
        >>> attention = MetricAttention(16)
        >>> u, i, f = torch.randn(3, 5, 16)
        >>> torch.allclose(attention(u, i, f).sum(-1), torch.full((5,), 16.0))
        True
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        check_integer("dim", dim, at_least=1)
        self.dim = dim
        self.hidden = nn.Linear(3 * dim, 5 * dim)
        self.output = nn.Linear(5 * dim, dim)
        for layer in (self.hidden, self.output):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, users: Tensor, items: Tensor, features: Tensor) -> Tensor:
        """Weights of pairs.

        Args:
            users: (..., dim).
            items: (..., dim), of a shape that goes with the users' by broadcasting.
            features: (..., dim), of the items.

        Returns:
            (..., dim), at least 0, summing to dim.
        """
        of_users, of_items = self.of_users(users), self.of_items(items, features)
        try:
            np.broadcast_shapes(users.shape, items.shape)
        except ValueError:
            raise ValueError(
                "users and items must go together by broadcasting; got shapes "
                f"{tuple(users.shape)} and {tuple(items.shape)}."
            ) from None
        return self.weights(of_users, of_items)

    def of_users(self, users: Tensor) -> AttentionInput:
        """The users' share, (..., dim) to (..., 5 * dim)."""
        self._check_width("users", users)
        weight = self.hidden.weight[:, : self.dim]
        return AttentionInput(F.linear(users, weight), _square(users))

    def of_items(self, items: Tensor, features: Tensor) -> AttentionInput:
        """The items' share, of their embeddings and their features, (..., dim) each."""
        self._check_width("items", items)
        self._check_width("features", features)
        if items.shape != features.shape:
            raise ValueError(
                "items and features must have one shape, (..., dim); got "
                f"{tuple(items.shape)} and {tuple(features.shape)}."
            )
        weight = self.hidden.weight[:, self.dim :]
        joint = torch.cat([items, features.to(items.dtype)], dim=-1)
        return AttentionInput(F.linear(joint, weight), _square(joint))

    def weights(self, users: AttentionInput, items: AttentionInput) -> Tensor:
        """Weights of pairs, whose shares broadcast against each other."""
        # 1 / ||[u; i; f]||, times 2 for the sigmoid below.
        scale = 2 * (users.square + items.square).clamp(min=1e-12).rsqrt()
        h = torch.addcmul(
            2 * widen(self.hidden.bias), widen(users.hidden) + widen(items.hidden), scale
        )
        # tanh(h) = 2 (sigmoid(2h) - 1/2), and the factor goes with the length; a CPU computes a
        # sigmoid in a tenth of the time of a tanh.
        t = h.sigmoid_() - 0.5
        length = torch.linalg.vector_norm(t, dim=-1, keepdim=True)
        length = torch.where(length > 1e-12, length, torch.ones_like(length))
        # The length divides what comes out, five times narrower than what goes in.
        z = F.linear(t.to(self.output.weight.dtype), self.output.weight) / length
        return self.dim * widen(z + self.output.bias).relu().softmax(-1)

    @torch.no_grad()
    def distances(
        self, users: Tensor, items: Tensor, features: Tensor, *, max_pairs: int | None = None
    ) -> Tensor:
        """Distances of all pairs, without gradient; about 10 dim^2 operations each.

        Args:
            users: (B, dim).
            items: (N, dim).
            features: (N, dim), of the items.
            max_pairs: how many pairs to compute at a time, which bounds the memory: 20 dim bytes a
                pair, a few times over. None for what a CPU's cache holds (elsewhere 128 MiB).

        Returns:
            (B, N), at least float32.

        Raises:
            ValueError: if ``max_pairs`` is below 1.
        """
        if max_pairs is None:
            values = 2**18 if users.device.type == "cpu" else 2**25
            max_pairs = max(1, values // self.hidden.out_features)
        check_integer("max_pairs", max_pairs, at_least=1)
        if len(items) != len(features):
            raise ValueError(
                f"items and features must have the same rows; got {len(items)} and {len(features)}."
            )
        users = users.unsqueeze(1)
        of_users = self.of_users(users)
        distances = widen(users).new_empty(len(users), len(items))
        for first in range(0, len(items), max_pairs):
            block = slice(first, first + max_pairs)
            of_items = self.of_items(items[block], features[block])
            step = max_pairs // len(items[block])
            for start in range(0, len(users), step):
                some = slice(start, start + step)
                weights = self.weights(AttentionInput(*(x[some] for x in of_users)), of_items)
                distances[some, block] = weighted_distance(weights, users[some], items[block])
        return distances

    def _check_width(self, name: str, x: Tensor) -> None:
        check_tensor(name, x)
        if x.shape[-1:] != (self.dim,):
            raise ValueError(f"{name} must have width {self.dim}; got shape {tuple(x.shape)}.")


def _square(x: Tensor) -> Tensor:
    return widen(x).square().sum(-1, keepdim=True)
