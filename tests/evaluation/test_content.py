"""The profile of content, against a loop, and by what may not change it."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_array

from sgfd.data import Dataset
from sgfd.evaluation import content_profile, evaluate

NUM_USERS, NUM_ITEMS = 12, 9


@pytest.fixture
def train():
    dense = np.random.default_rng(0).random((NUM_USERS, NUM_ITEMS)) < 0.3
    dense[5] = False
    return csr_array(dense, dtype=np.float32)


@pytest.fixture
def features():
    rng = np.random.default_rng(1)
    image = rng.normal(5, 2, size=(NUM_ITEMS, 7)).astype(np.float32)
    text = rng.normal(-1, 30, size=(NUM_ITEMS, 3))
    image[4] = np.nan
    return {"image": image, "text": text}


def by_hand(train, features):
    rows = []
    for item in range(NUM_ITEMS):
        parts = []
        for x in features.values():
            own = x[~np.isnan(x).any(axis=1)].astype(float)
            mean = own.mean(axis=0)
            scale = np.sqrt(np.mean([np.sum((row - mean) ** 2) for row in own]))
            parts += list(np.nan_to_num((x[item] - mean) / scale))
        rows.append(np.array(parts) / np.linalg.norm(parts))
    scores = np.zeros(train.shape)
    for user, owned in enumerate(train.toarray()):
        for item in range(NUM_ITEMS):
            likeness = [rows[item] @ rows[other] for other in np.flatnonzero(owned)]
            scores[user, item] = np.mean(likeness or [0])
    return scores


def test_scores_are_mean_cosines_to_the_items_of_a_user(train, features):
    scores = content_profile(train, features)(torch.tensor([3, 5, 0]))
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores, by_hand(train, features)[[3, 5, 0]], atol=1e-6)


def test_where_and_how_long_a_modality_is_does_not_matter(train, features):
    users = torch.arange(NUM_USERS)
    moved = {"text": 0.01 * features["text"] + 40, "image": torch.tensor(features["image"] * 9)}
    want = content_profile(train, features)(users)
    torch.testing.assert_close(content_profile(train, moved)(users), want, atol=1e-5, rtol=0)
    alone = content_profile(train, {"text": features["text"]})(users)
    assert (alone - want).abs().max() > 0.1


def test_no_item_need_have_every_modality(train, features):
    features["text"][[0, 1, 2, 3, 5, 6, 7, 8]] = np.nan
    features["text"][5] = features["text"][4] + [1, -2, 3]
    features["image"][5] = np.nan
    scores = content_profile(train, features)(torch.arange(NUM_USERS))
    np.testing.assert_allclose(scores, by_hand(train, features), atol=1e-6)


def test_the_features_that_were_passed_stay_as_they_were(train, features):
    before = {m: x.copy() for m, x in features.items()}
    content_profile(train, features)
    for m, x in features.items():
        np.testing.assert_array_equal(x, before[m])


def test_a_user_without_items_gets_them_by_index(train, features):
    scores = content_profile(train, features)(torch.tensor([5]))[0]
    assert scores.argsort(descending=True).tolist() == list(range(NUM_ITEMS))


def test_pairs_count_once_whatever_their_value(train, features):
    users = torch.arange(NUM_USERS)
    stars = train.copy()
    stars.data = np.arange(1, train.nnz + 1, dtype=np.float32)
    want = content_profile(train, features)(users)
    assert torch.equal(content_profile(stars, features)(users), want)


@pytest.mark.data
def test_two_texts_of_office_say_more_than_the_title_alone(data_dir):
    found = {}
    for m in ("Title", "Text"):
        data = Dataset.load(data_dir / "office", modalities=[m])
        scores = content_profile(data.train, data.features)
        found[m] = evaluate(scores, data.valid, seen=data.train).means()["recall@20"]
    assert 0.06 < found["Title"] < found["Text"] < 0.09


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_filled_with_the_mean_count_as_average(dtype):
    rng = np.random.default_rng(3)
    lacking = (rng.normal(size=(400, 16)) + 0.5).astype(dtype)
    lacking[::5] = np.nan
    filled = np.where(np.isnan(lacking), np.nanmean(lacking, axis=0), lacking)
    train = csr_array(rng.random((20, 400)) < 0.02)
    users = torch.arange(20)
    want = content_profile(train, {"text": lacking})(users)
    assert (want[:, 1] != 0).any()
    torch.testing.assert_close(
        content_profile(train, {"text": filled})(users), want, atol=1e-5, rtol=0
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_modality_that_is_the_same_of_all_items_says_nothing(train, features, dtype):
    users = torch.arange(NUM_USERS)
    beside = features | {"price": np.full((NUM_ITEMS, 8), 0.3, dtype=dtype)}
    want = content_profile(train, features)(users)
    torch.testing.assert_close(content_profile(train, beside)(users), want)


@pytest.mark.parametrize("power", [-40, 40])
def test_very_small_and_large_features_keep_their_directions(train, features, power):
    users = torch.arange(NUM_USERS)
    text = {"text": features["text"].astype(np.float32)}
    scaled = {"text": text["text"] * np.float32(2.0**power) * np.float32(2.0**power)}
    want = content_profile(train, text)(users)
    torch.testing.assert_close(content_profile(train, scaled)(users), want)


@pytest.mark.parametrize("batch", [1, 7, 12])
def test_equal_items_are_in_the_order_of_their_index(batch):
    rng = np.random.default_rng(4)
    twice = np.repeat(rng.normal(size=(30, 64)).astype(np.float32), 2, axis=0)
    train = csr_array(rng.random((NUM_USERS, 60)) < 0.1)
    profile = content_profile(train, {"text": twice})
    scores = torch.cat([profile(users) for users in torch.arange(NUM_USERS).split(batch)])
    owned = torch.from_numpy(train.toarray().any(axis=1))
    assert owned.any()
    assert (scores[owned, ::2] > scores[owned, 1::2]).all()
