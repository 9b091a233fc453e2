"""Fixtures of the tests of training."""

import numpy as np
import pytest
from training.small_models import NoisyMF, small_catalog

from sgfd.data import Dataset


@pytest.fixture
def catalog() -> Dataset:
    return small_catalog()


@pytest.fixture
def noisy(catalog: Dataset) -> NoisyMF:
    return NoisyMF(catalog.num_users, catalog.num_items)


@pytest.fixture
def ten_users() -> Dataset:
    """Ten users, each with two training items, one validation item and one test item."""
    user = np.arange(10)
    parts = [np.stack([user, user + shift], axis=1) for shift in (0, 3, 9, 14)]
    return Dataset.from_arrays(
        np.concatenate(parts[:2]),
        parts[3],
        valid=parts[2],
        features={"text": np.random.default_rng(5).standard_normal((24, 6))},
    )
