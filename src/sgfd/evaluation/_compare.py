"""Is one model better than another on the same users?"""

import warnings
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from sgfd._checks import check_integer, check_number
from sgfd.evaluation._evaluate import Evaluation

# Cells of the (resamples, users) matrix held at once by the bootstrap: about 100 MB.
_CELLS = 4_000_000


class Comparison(NamedTuple):
    """What ``compare`` found about model b against model a.

    Attributes:
        metric: the metric compared, e.g. ``"ndcg@20"``.
        mean_a: mean over users of the first.
        mean_b: mean over users of the second.
        relative_change: ``mean_b / mean_a - 1``; NaN where ``mean_a`` is 0.
        low: lower end of the confidence interval of the relative change; NaN where ``mean_a`` is
            0 in some resample (too few users with a hit).
        high: upper end, likewise.
        t_pvalue: two-sided, of the paired t-test: is the mean difference zero?
        wilcoxon_pvalue: two-sided, of Wilcoxon's signed-rank test: are the differences
            symmetric about zero? Users without a difference are left out, as Wilcoxon did.
        num_users: how many users were compared.
    """

    metric: str
    mean_a: float
    mean_b: float
    relative_change: float
    low: float
    high: float
    t_pvalue: float
    wilcoxon_pvalue: float
    num_users: int

    def __str__(self) -> str:
        return (
            f"{self.metric}: {self.mean_a:.4f} -> {self.mean_b:.4f} "
            f"({100 * self.relative_change:+.1f} %, interval {100 * self.low:+.1f} to "
            f"{100 * self.high:+.1f} %), p = {self.t_pvalue:.2g} (paired t), "
            f"{self.wilcoxon_pvalue:.2g} (Wilcoxon), {self.num_users} users"
        )


def compare(
    a: Evaluation,
    b: Evaluation,
    metric: str = "ndcg@20",
    *,
    confidence: float = 0.95,
    num_resamples: int = 9999,
    seed: int = 0,
    progress: bool = False,
) -> Comparison:
    """Compare two evaluations of the same users, user by user.

    The tests ask whether the difference could come from the choice of users. They do not see
    the luck of initialization and sampling: for a claim, train several seeds too.

    The interval is a percentile bootstrap over users (``scipy.stats.bootstrap``), each resample
    taking both values of a user together. SciPy's default, BCa, takes time and memory quadratic
    in the number of users; this takes time in proportion to users times resamples, some ten
    minutes of a million users.

    Args:
        a: the baseline.
        b: the model that should be better.
        metric: one of the names in ``Evaluation.per_user``.
        confidence: of the interval, between 0 and 1.
        num_resamples: bootstrap resamples.
        seed: of the resampling.
        progress: show a progress bar.

    Raises:
        TypeError: for what is no ``Evaluation``.
        ValueError: if a metric is missing, the users differ, there are fewer than two, or
            ``confidence`` or ``num_resamples`` is out of range.

    Example:
        >>> import numpy as np
        >>> from sgfd.evaluation import compare, Evaluation
        >>> users = np.arange(6)
        >>> plain = Evaluation(users, {"ndcg@20": np.array([0.1, 0.3, 0, 0.5, 0.4, 0.2])}, 0)
        >>> other = Evaluation(users, {"ndcg@20": np.array([0.2, 0.5, 0.05, 0.8, 0.37, 0.34])}, 0)
        >>> result = compare(plain, other)
        >>> print(f"{result.relative_change:+.0%} ({result.low:+.0%} to {result.high:+.0%})")
        +51% (+18% to +90%)
        >>> print(f"p = {result.t_pvalue:.3f} (t), {result.wilcoxon_pvalue:.3f} (Wilcoxon)")
        p = 0.044 (t), 0.062 (Wilcoxon)
    """
    from scipy import stats
    from tqdm import tqdm

    check_number("confidence", confidence, above=0, below=1)
    check_integer("num_resamples", num_resamples, at_least=1)
    check_integer("seed", seed, at_least=0)
    first, second = _paired(a, b, metric)
    num_users = len(first)
    mean_a, mean_b = float(first.mean()), float(second.mean())
    t_pvalue = wilcoxon_pvalue = 1.0
    bar = tqdm(total=num_resamples, desc="compare", unit="resample", disable=not progress)

    def changes(
        first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], axis: int
    ) -> npt.NDArray[np.float64]:
        bar.update(len(first))
        return _relative_change(first, second, axis)

    with bar, warnings.catch_warnings():
        # Identical or constant differences, and fewer than ten users (older SciPy), are legal
        # here and their p-values still right; an undefined interval is documented as NaN.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        warnings.filterwarnings("ignore", "Sample size too small|Exact p-value", UserWarning)
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        if (first != second).any():
            t_pvalue = float(stats.ttest_rel(second, first).pvalue)
            wilcoxon_pvalue = float(stats.wilcoxon(second, first).pvalue)
        interval = stats.bootstrap(
            (first, second),
            changes,
            paired=True,
            vectorized=True,
            method="percentile",
            confidence_level=confidence,
            n_resamples=num_resamples,
            batch=max(1, _CELLS // num_users),
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    return Comparison(
        metric,
        mean_a,
        mean_b,
        float(_relative_change(first, second, axis=0)),
        float(interval.low),
        float(interval.high),
        t_pvalue,
        wilcoxon_pvalue,
        num_users,
    )


def _relative_change(
    first: npt.NDArray[np.float64], second: npt.NDArray[np.float64], axis: int
) -> npt.NDArray[np.float64]:
    mean_a, mean_b = first.mean(axis=axis), second.mean(axis=axis)
    # Where the baseline is 0, a NaN says "undefined" without a warning.
    return np.asarray(mean_b / np.where(mean_a == 0, np.nan, mean_a) - 1)


def _paired(
    a: Evaluation, b: Evaluation, metric: str
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    for name, run in (("a", a), ("b", b)):
        if not isinstance(run, Evaluation):
            raise TypeError(
                f"{name} must be an Evaluation, which evaluate() gives; got "
                f"{type(run).__qualname__}."
            )
        if metric not in run.per_user:
            raise ValueError(f"{name} has no metric {metric!r}; it has {list(run.per_user)}.")
        values = run.per_user[metric]
        if values.shape != run.users.shape or not np.isfinite(values).all():
            raise ValueError(
                f"{name} must have one finite {metric} per user ({len(run.users)}); got "
                f"{np.isfinite(values).sum()} of shape {values.shape}."
            )
    order_a, order_b = np.argsort(a.users), np.argsort(b.users)
    if not np.array_equal(a.users[order_a], b.users[order_b]):
        alone = np.setxor1d(a.users, b.users)
        example = f", e.g. user {alone[0]} is in one only" if len(alone) else ""
        raise ValueError(
            f"a and b must be evaluations of the same users; got {len(a.users)} and "
            f"{len(b.users)}{example}. Evaluate both on the same target and users."
        )
    if len(a.users) < 2:
        raise ValueError(f"a paired test needs at least 2 users; got {len(a.users)}.")
    return a.per_user[metric][order_a], b.per_user[metric][order_b]
