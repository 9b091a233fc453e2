"""The training batch that data loaders make and backbones read."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Training pairs with sampled negatives.

    A plain tuple in this order works wherever a ``Batch`` is read. A NamedTuple keeps its type
    through ``DataLoader`` collation, ``pin_memory`` and Lightning's transfer to the device.

    Attributes:
        users: (B,) int64, user indices.
        items: (B,) int64, an item each user interacted with in the training part.
        negatives: (B, n) int64, items the user did not interact with there. Backbones without
            negative sampling (BM3) ignore it; ``n`` may be 0 for them.
    """

    users: Tensor
    items: Tensor
    negatives: Tensor
