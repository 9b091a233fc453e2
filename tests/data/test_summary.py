"""What a dataset says of itself."""

import numpy as np

from sgfd.data import Dataset

_FEATURES = {"image": np.ones((4, 3)), "text": np.ones((4, 2))}


def test_users_and_items_without_pairs_are_counted() -> None:
    data = Dataset.from_arrays(
        [(0, 0), (3, 1)], [(1, 2), (3, 2)], valid=[(0, 1)], features=_FEATURES
    )
    assert data.notes == (
        "valid: 3 of 4 users have no valid item and are left out of its evaluation",
        "test: 2 of 4 users have no test item and are left out of its evaluation",
        "train: 2 users and 2 items occur in no training pair",
    )


def test_the_summary_says_what_a_reader_of_results_needs() -> None:
    train = [(user, item) for user in range(2) for item in range(3)]
    labels = ["pen", None, "pen", "ink"]
    data = Dataset.from_arrays(
        train, [(1, 3)], features=_FEATURES, labels=labels, seed=4, name="desk"
    )
    assert repr(data) == (
        "Dataset('desk', 2 users, 4 items, 6 + 0 + 1 pairs, image 3, text 2, 2 classes)"
    )
    assert data.summary().splitlines() == [
        "desk: 2 users, 4 items",
        "  train             6 pairs of 2 users, density 75.000%",
        "  valid             0 pairs of 0 users, density 0.000%",
        "  test              1 pairs of 1 users, density 12.500%",
        "  features  image 3, text 2",
        "  labels    2 classes, 25.0% of items unlabeled, the largest 'pen' (66.7%)",
        "  - valid: 0 pairs carved from train (0.1 of each user's, rounded half up, seed 4)",
        "  - valid: 2 of 2 users have no valid item and are left out of its evaluation",
        "  - test: 1 of 2 users have no test item and are left out of its evaluation",
        "  - train: 0 users and 1 items occur in no training pair",
        "  - labels: 1 of 4 items have none",
    ]
