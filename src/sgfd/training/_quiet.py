"""Lightning without the messages that nobody can act on."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Hides Lightning's notices, and puts loggers and warning filters back after."""
    # Which devices exist and which is used, tips, "`Trainer.fit` stopped": all of level INFO.
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        with warnings.catch_warnings():
            # torch 2.13 says so of a class that Lightning 2.6 uses itself.
            warnings.filterwarnings(
                "ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated", FutureWarning
            )
            # Said to whoever asks for accelerator="cpu", of an argument that fit does not have.
            warnings.filterwarnings("ignore", "(GPU|TPU) available but not used", UserWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
