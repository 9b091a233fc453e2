"""Training on Lightning: ``pip install "sgfd[train]"``.

``fit`` trains a backbone, plain or distilled, with early stopping, logs and exact resume. It is
put together from the parts below, which work in a ``lightning.Trainer`` of your own.
"""

try:
    import lightning as _lightning  # noqa: F401
except ImportError as error:
    raise ImportError(
        'sgfd.training is built on Lightning, which is not installed: pip install "sgfd[train]". '
        "A plain PyTorch loop needs nothing but sgfd: see the README."
    ) from error

from sgfd.training._checkpoint import AtomicCheckpointIO as AtomicCheckpointIO
from sgfd.training._data import BatchStream as BatchStream
from sgfd.training._data import InteractionDataModule as InteractionDataModule
from sgfd.training._data import RankingTask as RankingTask
from sgfd.training._fit import FitResult as FitResult
from sgfd.training._fit import fit as fit
from sgfd.training._history import EpochRecord as EpochRecord
from sgfd.training._history import History as History
from sgfd.training._module import RecommenderModule as RecommenderModule
from sgfd.training._resume import ExactResume as ExactResume
from sgfd.training._schedule import Schedule as Schedule
from sgfd.training._schedule import Weights as Weights
from sgfd.training._schedule import decay as decay
from sgfd.training._schedule import warm_up as warm_up
