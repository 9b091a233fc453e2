"""Evaluations side by side, for the terminal."""

from collections.abc import Mapping, Sequence

import numpy as np

from sgfd.evaluation._evaluate import Evaluation


def table(runs: Mapping[str, Evaluation], *, metrics: Sequence[str] | None = None) -> str:
    """Means of several runs as a Markdown table that also reads well as plain text.

    Args:
        runs: an evaluation by name; one column each. Two runs over the same users get one more
            column: the relative change of the second against the first.
        metrics: which rows to show, e.g. ``["recall@20", "ndcg@20"]``; None shows all of the
            first run.

    Returns:
        Lines joined by newlines, without a final one. The last row is the number of users.

    Raises:
        TypeError: for what are no runs by name.
        ValueError: if ``runs`` is empty, or one of them lacks a metric.

    Example:
        >>> import numpy as np
        >>> from sgfd.evaluation import Evaluation, table
        >>> users = np.arange(2)
        >>> plain = Evaluation(users, {"ndcg@20": np.array([0.1, 0.3])}, num_skipped=0)
        >>> distilled = Evaluation(users, {"ndcg@20": np.array([0.2, 0.3])}, num_skipped=0)
        >>> print(table({"plain": plain, "distilled": distilled}))
        | metric  |  plain | distilled |  change |
        |:--------|-------:|----------:|--------:|
        | ndcg@20 | 0.2000 |    0.2500 | +25.0 % |
        | users   |      2 |         2 |         |
    """
    if not isinstance(runs, Mapping) or not all(isinstance(r, Evaluation) for r in runs.values()):
        raise TypeError(
            "runs must be {name: Evaluation}, which evaluate() gives; got "
            f"{type(runs).__qualname__}."
        )
    if isinstance(metrics, str):
        raise TypeError(f"metrics must be a list of names; got {metrics!r}.")
    if not runs:
        raise ValueError("runs must hold at least one evaluation.")
    names, evaluations = list(runs), list(runs.values())
    shown = list(evaluations[0].per_user if metrics is None else metrics)
    for name, run in runs.items():
        if missing := [metric for metric in shown if metric not in run.per_user]:
            raise ValueError(f"run {name!r} has no {missing}; it has {list(run.per_user)}.")
    compared = _same_users(evaluations)
    rows = [["metric", *names, *(["change"] if compared else [])]]
    for metric in shown:
        means = [float(run.per_user[metric].mean()) for run in evaluations]
        rows.append([metric, *(f"{mean:.4f}" for mean in means)])
        if compared:
            rows[-1].append(f"{100 * (means[1] / means[0] - 1):+.1f} %" if means[0] else "-")
    counts = [str(len(run.users)) for run in evaluations]
    rows.append(["users", *counts, *([""] if compared else [])])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    rule = f"|:{'-' * widths[0]}-|" + "|".join("-" * (width + 1) + ":" for width in widths[1:])
    lines = [_line(row, widths) for row in rows]
    return "\n".join([lines[0], f"{rule}|", *lines[1:]])


def _line(row: list[str], widths: list[int]) -> str:
    cells = [row[0].ljust(widths[0])]
    cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
    return f"| {' | '.join(cells)} |"


def _same_users(evaluations: Sequence[Evaluation]) -> bool:
    """Whether these are two runs that differ by the model alone."""
    if len(evaluations) != 2:
        return False
    first, second = (np.sort(run.users) for run in evaluations)
    return np.array_equal(first, second)
