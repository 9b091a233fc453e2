"""Students' outputs of all items, kept between the training steps that compute them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class OutputCache(nn.Module):
    """Every item's outputs, of the last training step that computed them all.

    The table and the number of steps since are part of the state of a training: buffers that
    checkpoints hold, so that a run that is resumed gives the same bits. A state without them (of a
    model that keeps none) can be loaded; the next training step then computes all.

    Args:
        every: after how many training steps all are computed again.
        modalities: names, in order.
        num_items: N.
        dim: D, width of the outputs.
    """

    age: Tensor
    outputs: Tensor

    def __init__(self, every: int, modalities: list[str], num_items: int, dim: int) -> None:
        super().__init__()
        self._every, self._modalities = every, tuple(modalities)
        self.register_buffer("age", torch.zeros((), dtype=torch.int64))
        self.register_buffer("outputs", torch.zeros(len(self._modalities), num_items, dim))

    # Which step it is is a value, which a compiler may not look at: it goes around this.
    @torch.compiler.disable  # type: ignore[untyped-decorator]
    def forward(
        self, project: Callable[[str, Tensor | None], Tensor], rows: Tensor
    ) -> dict[str, Tensor]:
        """The outputs of a training step, and one step more on the count.

        Args:
            project: modality, and item indices or None for all, to their outputs.
            rows: (n,) distinct indices of the items that are computed anyhow, with a gradient.

        Returns:
            ``{modality: (N, D)}``; where not all were computed, other rows have no gradient.
        """
        found = {}
        if int(self.age) == 0:
            for m, kept in zip(self._modalities, self.outputs, strict=True):
                found[m] = project(m, None)
                kept.copy_(found[m].detach())
        else:
            for m, kept in zip(self._modalities, self.outputs, strict=True):
                fresh = project(m, rows)
                found[m] = kept.to(fresh.dtype).index_copy(0, rows.long(), fresh)
        self.age.add_(1).remainder_(self._every)
        return found

    def _load_from_state_dict(
        self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if not any(key.startswith(prefix) for key in state_dict):
            self.age.zero_()
            return
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class NoCache(nn.Module):
    """In its place where every step computes all: a state with a cache can be loaded there too."""

    def _load_from_state_dict(self, *_: Any, **__: Any) -> None:
        """Leaves a cache where it is."""


def new_cache(
    every: int, modalities: list[str], num_items: int, dim: int
) -> "OutputCache | NoCache":
    """A cache, unless every step computes all."""
    return OutputCache(every, modalities, num_items, dim) if every > 1 else NoCache()
