"""What is compared: a computation of ours and the straightforward way to the same values."""

from collections.abc import Callable
from typing import NamedTuple


class Case(NamedTuple):
    """Which computation.

    Attributes:
        part: "step", "ranking" or "sampling".
        backbone: a key of ``cases.KINDS``.
        arm: "plain" or "distilled".
        mathematics: "release" or "default".
        kernels: of the graph, "torch" or "torch-sparse", on our side.
    """

    part: str
    backbone: str
    arm: str = "plain"
    mathematics: str = "default"
    kernels: str = "torch"


class Subject(NamedTuple):
    """Two ways to the same values.

    Attributes:
        ours: makes the computation once.
        straightforward: likewise, the way the authors' release and MMRec go.
        check: raises AssertionError unless both give the same.
        ours_times: how many of ``ours`` make what is reported: a ranking of a quarter of the users
            counts four times, the batches of an epoch one over their number.
        straightforward_times: likewise.
    """

    ours: Callable[[], object]
    straightforward: Callable[[], object]
    check: Callable[[], None]
    ours_times: float = 1.0
    straightforward_times: float = 1.0
