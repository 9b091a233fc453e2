"""Neighbors drawn uniformly without replacement, for many nodes at once."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


class Neighbors(NamedTuple):
    """Whom each node has an edge with.

    Attributes:
        ptr: (n + 1,) where each node's neighbors begin.
        column: (E,) the neighbors, by node.
    """

    ptr: Indices
    column: Indices

    def degrees(self, nodes: Indices) -> Indices:
        """How many neighbors some nodes have."""
        return self.ptr[nodes + 1] - self.ptr[nodes]

    def draw(
        self, nodes: Indices, number: int, random: np.random.Generator
    ) -> tuple[Indices, Indices]:
        """Some neighbors of each node, all where there are no more than wanted.

        Args:
            nodes: (n,).
            number: how many; -1 for all.
            random: is drawn from.

        Returns:
            (k,) nodes, repeated, and (k,) a neighbor of each.
        """
        degrees = self.degrees(nodes)
        many = degrees > number if number >= 0 else np.zeros(len(nodes), dtype=bool)
        few, wide = nodes[~many], nodes[many]
        starts, counts = self.ptr[few], degrees[~many]
        within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = np.repeat(starts, counts) + within
        if len(wide):
            drawn = self.ptr[wide][:, None] + _subsets(degrees[many], number, random)
            places = np.concatenate([places, drawn.flatten()])
        return np.concatenate([np.repeat(few, counts), np.repeat(wide, number)]), self.column[
            places
        ]


def _subsets(sizes: Indices, number: int, random: np.random.Generator) -> Indices:
    """(n, number) distinct numbers below each size, every subset equally likely."""
    # R. W. Floyd's algorithm (Bentley and Floyd, CACM 30(9), 1987), all rows at once: the last
    # number allowed takes the place of one that has been drawn before.
    drawn = np.empty((len(sizes), number), dtype=np.int64)
    for i in range(number):
        last = sizes - number + i
        value = random.integers(0, last + 1)
        before = (drawn[:, :i] == value[:, None]).any(axis=1)
        drawn[:, i] = np.where(before, last, value)
    return drawn
