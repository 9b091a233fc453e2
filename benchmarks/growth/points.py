"""What is varied, and between which sizes."""

from typing import NamedTuple

FIXED = "width, fixed teacher"
AXES = ("users", "items", "pairs", "width", FIXED, "modalities")
TRAINED = ("vbpr", "bm3", "grcn", "maml")
EVALUATION = "evaluation"


class Sizes(NamedTuple):
    """Of a made-up catalog."""

    users: int = 20_000
    items: int = 10_000
    pairs: int = 200_000
    width: int = 256
    modalities: int = 2


class Point(NamedTuple):
    """One measurement: a backbone's training step, or ranking."""

    task: str
    axis: str
    sizes: Sizes

    @property
    def value(self) -> int:
        """Where on the axis it is."""
        found: int = getattr(self.sizes, "width" if self.axis == FIXED else self.axis)
        return found


VALUES = {
    "users": (1_000, 3_000, 10_000, 30_000, 100_000),
    "items": (1_000, 3_000, 10_000, 30_000, 100_000),
    "pairs": (10_000, 30_000, 100_000, 300_000, 1_000_000),
    "width": (64, 128, 256, 512, 1024, 2048),
    FIXED: (64, 128, 256, 512, 1024, 2048),
    "modalities": (1, 2, 3, 4, 6, 8),
}
# Further, with --full.
FULL = {
    "users": (300_000, 1_000_000),
    "items": (300_000, 1_000_000),
    "pairs": (3_000_000, 10_000_000),
    "width": (4096, 8192),
    FIXED: (4096, 8192),
    "modalities": (12, 16),
}


def grid(tasks: list[str], axes: list[str], *, full: bool) -> list[Point]:
    """One size varies at a time, small before large."""
    points = []
    for task in tasks:
        # Ranking reads no features of items, once they are projected, and no training pairs.
        for axis in axes if task != EVALUATION else [a for a in axes if a in ("users", "items")]:
            size = "width" if axis == FIXED else axis
            values = VALUES[axis] + (FULL[axis] if full else ())
            points += [Point(task, axis, Sizes()._replace(**{size: value})) for value in values]
    return points
