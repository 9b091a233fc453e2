"""Popularity on top of what a recommender scores, for those that cannot tell it."""

from collections.abc import Callable

import torch
from scipy.sparse import csr_array
from torch import Tensor

from sgfd._checks import check_number
from sgfd._functional import widen
from sgfd._tensor_checks import check_users
from sgfd.evaluation._baselines import ones_of
from sgfd.evaluation._ranking import check_scores_function, checked_scores


def with_popularity(
    scores: Callable[[Tensor], Tensor], train: csr_array, *, weight: float
) -> Callable[[Tensor], Tensor]:
    r"""Adds popularity to a recommender's scores, after training.

    .. math::
        s'_{ui} = s_{ui} + w\, \sigma_u\, z_i, \qquad z = \text{standardized}(\log(1 + n))

    with :math:`n_i` the users of item i and :math:`\sigma_u` the standard deviation of the user's
    scores over the items. So w has no unit: at 1, items that differ by one deviation of log
    popularity differ by one deviation of what the user thinks of items.

    A recommender without item biases, whose vectors are about of one length or which ranks by
    distances, can hardly say that everybody likes an item. If some weight raises the validation
    part's metrics, this one did not learn what a count knows, and what a method gains upon it may
    be no more than that (docs/study.md has how much it is for whom). Choose the weight there, by
    trying a few from 0 up to where they get worse, and never by the test part.

    Args:
        scores: users (B,) int64 to scores (B, num_items), floating and finite, seen items like any
            other: a model's ``scores``, its ``scorer()``, or another of ``sgfd.evaluation``.
        train: (num_users, num_items) SciPy sparse, non-zero where the user has the item, whatever
            the value: what the recommender was trained on.
        weight: w. 0 leaves the scores; a negative one ranks popular items lower.

    Returns:
        Users to scores (B, num_items), at least float32, on the device of those of ``scores``. If
        all items have equally many users they stay as they are.

    Raises:
        TypeError: if ``scores`` is a model, not its method, or returns no floating-point Tensor;
            if ``train`` is not sparse.
        ValueError: if ``weight`` is not a finite number; when called, for scores of another shape,
            NaN or infinite.

    Example:
        >>> import torch
        >>> from scipy.sparse import csr_array
        >>> from sgfd.evaluation import with_popularity
        >>> train = csr_array([[1, 1, 0], [0, 1, 0], [0, 1, 1], [0, 1, 1]])
        >>> both = with_popularity(lambda users: torch.tensor([[2.0, 1.0, 0.0]]), train, weight=2)
        >>> both(torch.tensor([0])).argsort(descending=True)
        tensor([[1, 0, 2]])
    """
    check_scores_function(scores)
    check_number("weight", weight)
    ones = ones_of(train)
    counts = torch.from_numpy(ones.sum(axis=0)).log1p()
    # Compared, as a deviation of equal numbers need not be 0 exactly.
    spread = counts.std(correction=0) if counts.min() < counts.max() else torch.inf
    z = (counts - counts.mean()) / spread

    def added(users: Tensor) -> Tensor:
        rows = check_users(users, ones.shape[0]).cpu().numpy()
        own = widen(checked_scores(scores(users), rows, len(z), of="train"))
        if not torch.isfinite(own).all():
            raise ValueError(
                "scores(users) must be finite, those of seen items too (leave these out by "
                "evaluate's seen=); got infinity."
            )
        if not len(own):
            return own  # of nobody, whose deviation torch would warn of
        deviation = own.std(dim=1, correction=0, keepdim=True)
        return own + weight * deviation * z.to(own)

    return added
