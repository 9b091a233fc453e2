"""Weights of the distillation loss that change while a recommender trains."""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from numbers import Real
from typing import NamedTuple, TypeAlias

from torch import nn

from sgfd._checks import check_integer, check_number
from sgfd._distilled import Distilled
from sgfd._loss import SGFDLoss


class Weights(NamedTuple):
    """The two weights of an ``SGFDLoss``; a plain tuple of two numbers does as well."""

    ce_weight: float
    kd_weight: float


Schedule: TypeAlias = Callable[[int], tuple[float, float]]


def warm_up(ce_weight: float, kd_weight: float, *, steps: int) -> Schedule:
    r"""A schedule whose ``kd_weight`` grows from 0 in equal parts, and then stays.

    .. math:: \lambda_{kd}(s) = \lambda_{kd} \min(1, (s + 1) / \text{steps})

    The ``ce_weight`` is whole from the first step: the teacher has to learn before it has
    something to teach.

    Args:
        ce_weight: at every step, at least 0.
        kd_weight: from step ``steps - 1`` on, at least 0.
        steps: at least 1; an epoch of ``fit`` has ``ceil(dataset.train.nnz / batch_size)``.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> from sgfd.training import warm_up
        >>> schedule = warm_up(0.1, 0.04, steps=4)
        >>> [schedule(step).kd_weight for step in (0, 1, 3, 1000)]
        [0.01, 0.02, 0.04, 0.04]
    """
    _check(steps, ce_weight, kd_weight)
    # Not closures: these can be pickled.
    return partial(_warm_up, Weights(ce_weight, kd_weight), steps)


def decay(ce_weight: float, kd_weight: float, *, steps: int) -> Schedule:
    r"""A schedule whose weights both shrink in equal parts, to 0: the recommender's loss remains.

    .. math:: \lambda(s) = \lambda \max(0, 1 - s / \text{steps})

    At 0 teacher and student get no gradient from the distillation any more, of which
    DistributedDataParallel has to be told (``find_unused_parameters=True``).

    Args:
        ce_weight: at step 0, at least 0.
        kd_weight: at step 0, at least 0.
        steps: the first step at which they are 0, at least 1.

    Raises:
        ValueError: for an argument out of range.

    Example:
        >>> from sgfd.training import decay
        >>> schedule = decay(0.1, 0.04, steps=4)
        >>> [schedule(step).kd_weight for step in (0, 1, 3, 4, 1000)]
        [0.04, 0.03, 0.01, 0.0, 0.0]
    """
    _check(steps, ce_weight, kd_weight)
    return partial(_decay, Weights(ce_weight, kd_weight), steps)


def weights_at(schedule: Schedule, step: int) -> Weights:
    """What a schedule gives for a step, checked.

    Raises:
        TypeError: if it is no tuple of numbers.
        ValueError: if it is not two, or one is negative or not finite.
    """
    given = schedule(step)
    if not isinstance(given, tuple) or not all(
        isinstance(w, Real) and not isinstance(w, bool) for w in given
    ):
        raise TypeError(_contract(step, given))
    if len(given) != 2 or not all(0 <= w < math.inf for w in given):
        raise ValueError(_contract(step, given))
    return Weights(float(given[0]), float(given[1]))


def check_schedule(schedule: Schedule, model: nn.Module) -> None:
    """Refuses, before training, what cannot be a schedule of a model.

    Raises:
        TypeError: if the model is plain, or the schedule no function that gives numbers.
        ValueError: if it gives other than two weights, at least 0 and finite, for step 0.
    """
    if not isinstance(model, Distilled):
        raise TypeError(
            "schedule= sets the weights of the distillation loss, and needs a model that distill() "
            f"made; {type(model).__qualname__} has no such loss."
        )
    if not callable(schedule):
        raise TypeError(
            "schedule must be a function from the step to (ce_weight, kd_weight); got "
            f"{schedule!r}. Weights that stay go into SGFDLoss(ce_weight=..., kd_weight=...)."
        )
    weights_at(schedule, 0)


@contextmanager
def weighted(loss: SGFDLoss, weights: Weights) -> Iterator[None]:
    """Gives a loss other weights inside, and its own again after."""
    own = Weights(loss.ce_weight, loss.kd_weight)
    loss.ce_weight, loss.kd_weight = weights
    try:
        yield
    finally:
        loss.ce_weight, loss.kd_weight = own


def _warm_up(full: Weights, steps: int, step: int) -> Weights:
    return full._replace(kd_weight=full.kd_weight * min(1.0, (step + 1) / steps))


def _decay(full: Weights, steps: int, step: int) -> Weights:
    share = max(0.0, 1 - step / steps)
    return Weights(full.ce_weight * share, full.kd_weight * share)


def _contract(step: int, given: object) -> str:
    return (
        "schedule(step) must be a tuple (ce_weight, kd_weight) of two numbers, at least 0 and "
        f"finite; at step {step} it is {given!r}."
    )


def _check(steps: int, ce_weight: float, kd_weight: float) -> None:
    check_integer("steps", steps, at_least=1)
    check_number("ce_weight", ce_weight, at_least=0)
    check_number("kd_weight", kd_weight, at_least=0)
