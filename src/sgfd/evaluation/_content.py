"""What the features say by themselves, before anything is trained."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor

from sgfd._beside import beside
from sgfd._checks import check_mapping
from sgfd._functional import activate
from sgfd._tensor_checks import check_users
from sgfd.evaluation._baselines import last_resort, ones_of

if TYPE_CHECKING:
    from sgfd._features import FeatureSource


def content_profile(
    train: csr_array, features: "Mapping[str, FeatureSource]"
) -> Callable[[Tensor], Tensor]:
    r"""Scores an item by how much it looks like what the user has; nothing is learned.

    The content-based recommender in its plainest form (Pazzani and Billsus, 2007):

    .. math:: s_{ui} = \frac{1}{|I_u|} \sum_{j \in I_u} \langle \hat x_i, \hat x_j \rangle

    with :math:`I_u` the items of user u and :math:`\hat x_i` the modalities of item i beside each
    other, each centered and divided by one number so that the items that have it lie at mean
    squared distance 1 from their mean, at unit length. Without centering, what all items share
    would make every item alike; without the number, the longest modality would decide.

    It says what features know about taste, one modality at a time or all together. Far below
    ``popularity``, they know little, and a layer that makes the recommender listen to them
    (unit rows, as in ``paper_student``) is more likely to cost: docs/study.md.

    A modality that an item lacks counts as average. An item without features, and every item for
    a user whose items have none, scores 0. Equal scores are lowered by ``1e-12`` times the index,
    as in ``item_knn``.

    Args:
        train: (num_users, num_items) SciPy sparse, as in ``popularity``.
        features: ``{modality: (num_items, F_m)}`` tensors or arrays of a floating dtype, as
            ``dataset.features``; a row of NaN where an item lacks it. They are held in float64, at
            unit length, beside each other.

    Returns:
        Users (B,) int64 to scores (B, num_items) float64 on the CPU, as ``evaluate`` takes them.

    Raises:
        TypeError: if ``train`` is not sparse, or ``features`` no mapping of tensors or arrays.
        ValueError: if a modality has a wrong shape or dtype, other rows than ``train`` has items,
            or rows that are NaN in part or infinite; if there is none, or no item has it.

    Example:
        >>> import torch
        >>> from sgfd.data import synthetic_catalog
        >>> from sgfd.evaluation import content_profile, evaluate, popularity
        >>> data = synthetic_catalog(seed=0)
        >>> means = {
        ...     name: evaluate(scores, data.valid, seen=data.train).means()["ndcg@20"]
        ...     for name, scores in {
        ...         "content": content_profile(data.train, data.features),
        ...         "popularity": popularity(data.train),
        ...     }.items()
        ... }
        >>> means["content"] > means["popularity"]  # made-up tastes follow the features
        True
    """
    check_mapping("features", features)
    ones = ones_of(train)
    # Each by itself: no item need have all.
    tables = {m: beside({m: features[m]}).points for m in sorted(features, key=str)}
    counts = {m: len(table) for m, table in tables.items()}
    if set(counts.values()) != {ones.shape[1]}:
        raise ValueError(
            f"features must have one row per item of train, {ones.shape[1]:,}, in each of one or "
            f"more modalities; got {counts}."
        )
    rows = np.hstack(list(tables.values()))
    rows[np.isnan(rows)] = 0
    # In double precision, or rounding would put equal items apart, now one before, now the other.
    unit = activate(torch.from_numpy(rows).double(), None, normalize=True)
    lengths = np.maximum(np.diff(ones.indptr), 1)
    lower = last_resort(ones.shape[1])

    def scores(users: Tensor) -> Tensor:
        who = check_users(users, ones.shape[0]).cpu().numpy()
        profile = ones[who] @ unit.numpy() / lengths[who, None]
        return torch.from_numpy(profile) @ unit.T - lower

    return scores
