"""Is one arm better than another: tests over users, intervals over users and seeds."""

from collections.abc import Hashable, Mapping
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
Key = TypeVar("Key", bound=Hashable)


class Effect(NamedTuple):
    """Of b against a.

    Attributes:
        mean_a: over users and seeds.
        mean_b: likewise.
        change: ``mean_b / mean_a - 1``.
        low: 2.5 % of the bootstrap over users and seeds; NaN with fewer than three seeds, of which
            a resample says nothing.
        high: 97.5 %, likewise.
        by_seed: the change in each seed.
        t_pvalue: paired t over users, each the mean over seeds.
        wilcoxon_pvalue: signed ranks of the same.
        num_users: users.
        num_seeds: seeds.
    """

    mean_a: float
    mean_b: float
    change: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    t_pvalue: float
    wilcoxon_pvalue: float
    num_users: int
    num_seeds: int


def effect(a: Floats, b: Floats, *, resamples: int = 9999, seed: int = 0) -> Effect:
    """Compares two arms that share users and seeds.

    Args:
        a: (seeds, users) the metric under the first arm.
        b: the same of the second.
        resamples: of the bootstrap.
        seed: of the bootstrap.
    """
    if a.shape != b.shape or a.ndim != 2:
        raise ValueError(f"both must be (seeds, users) of one shape; got {a.shape}, {b.shape}.")
    first, second = a.mean(axis=0), b.mean(axis=0)
    t = wilcoxon = 1.0
    if (first != second).any():
        t = float(stats.ttest_rel(second, first).pvalue)
        wilcoxon = float(stats.wilcoxon(second, first).pvalue)
    low = high = np.nan
    if len(a) >= 3:
        changes = bootstrap(a, b, resamples=resamples, seed=seed)
        low, high = np.quantile(changes, [0.025, 0.975])
    by_seed = tuple(map(float, b.mean(axis=1) / a.mean(axis=1) - 1))
    mean_a, mean_b = float(a.mean()), float(b.mean())
    return Effect(
        mean_a, mean_b, mean_b / mean_a - 1, float(low), float(high), by_seed, t, wilcoxon,
        a.shape[1], a.shape[0],
    )  # fmt: skip


def bootstrap(a: Floats, b: Floats, *, resamples: int, seed: int) -> Floats:
    """Relative changes under users and seeds drawn anew together, both with replacement.

    A resample takes both arms of a user and of a seed. Of the seeds there are few, S, so the
    interval says little about other seeds: it has (S - 1) / S of their variance.
    """
    rng = np.random.default_rng(seed)
    num_seeds, num_users = a.shape
    means = np.empty((2, resamples))
    for at in range(0, resamples, 500):
        n = min(500, resamples - at)
        users = rng.integers(num_users, size=(n, num_users))
        drawn = np.stack([np.bincount(row, minlength=num_users) for row in users]).astype(float)
        seeds = rng.multinomial(num_seeds, [1 / num_seeds] * num_seeds, size=n)
        for arm, values in enumerate((a, b)):
            means[arm, at : at + n] = (drawn @ values.T * seeds).sum(axis=1)
    changes: Floats = means[1] / means[0] - 1
    return changes


def holm(pvalues: Mapping[Key, float], family: int) -> dict[Key, float]:
    """Holm's adjusted p-values (1979).

    Args:
        pvalues: of the tests that were made.
        family: how many were declared; those not made count as if their p were 1.
    """
    if family < len(pvalues):
        raise ValueError(f"{len(pvalues)} tests were made, but {family} declared.")
    adjusted, so_far = {}, 0.0
    for rank, key in enumerate(sorted(pvalues, key=lambda k: pvalues[k])):
        so_far = max(so_far, min(1.0, (family - rank) * pvalues[key]))
        adjusted[key] = so_far
    return adjusted
