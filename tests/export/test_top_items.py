"""The best items of many users, block by block: what all scores sorted would give."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array, csr_array
from torch.utils._python_dispatch import TorchDispatchMode

from sgfd.backbones import BM3, GRCN, VBPR, Vectors
from sgfd.data import synthetic_catalog
from sgfd.evaluation import evaluate
from sgfd.export import top_items

USERS, WIDTH = 13, 6


def random_case(seed: int, num_items: int) -> tuple[Vectors, csr_array, csr_array]:
    """Vectors, what is seen (all of it by user 2) and targets, disjoint."""
    rng = np.random.default_rng(seed)
    users, items = (torch.from_numpy(rng.normal(size=(n, WIDTH))) for n in (USERS, num_items))
    part = rng.choice(["none", "seen", "target"], p=[0.5, 0.4, 0.1], size=(USERS, num_items))
    part[2] = "seen"
    part[3, 0] = "target"
    return (
        Vectors(users, items),
        csr_array(part == "seen", dtype=float),
        csr_array(part == "target"),
    )


def sorted_by_hand(vectors, users, k, seen) -> tuple[list[list[int]], list[list[float]]]:
    """Items and scores; -1 and minus infinity beyond the end."""
    table = (vectors.users @ vectors.items.T).numpy().copy()
    if seen is not None:
        table[seen.toarray() != 0] = -np.inf
    items, scores = [], []
    for user in users:
        order = sorted(range(table.shape[1]), key=lambda i: -table[user, i])[:k]
        items.append([i if table[user, i] > -np.inf else -1 for i in order])
        scores.append([float(table[user, i]) for i in order])
    return items, scores


@given(
    seed=st.integers(0, 2**32 - 1),
    num_items=st.integers(1, 300),
    k=st.integers(1, 40),
    block=st.integers(1, 320),
    batch=st.integers(1, 15),
    mask=st.booleans(),
)
def test_they_are_the_first_of_all_unseen_items_sorted(seed, num_items, k, block, batch, mask):
    vectors, seen, _ = random_case(seed, num_items)
    k, seen = min(k, num_items), seen if mask else None
    users = torch.tensor([3, 12, 2, 0, 3])

    found = top_items(vectors, users, k, seen=seen, item_block=block, batch_size=batch)

    items, scores = sorted_by_hand(vectors, users.tolist(), k, seen)
    assert found.items.tolist() == items
    np.testing.assert_allclose(found.scores.numpy(), scores, rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 2**32 - 1), block=st.integers(5, 400), batch=st.integers(3, 15))
@settings(deadline=None)
def test_vectors_are_evaluated_as_their_scores_are(seed, block, batch):
    vectors, seen, target = random_case(seed, 350)

    found = evaluate(vectors, target, seen=seen, item_block=block, batch_size=batch)

    expected = evaluate(lambda u: vectors.users[u] @ vectors.items.T, target, seen=seen)
    assert found.num_skipped == expected.num_skipped
    np.testing.assert_array_equal(found.users, expected.users)
    for name, values in expected.per_user.items():
        np.testing.assert_array_equal(found.per_user[name], values)


@pytest.mark.parametrize("kind", [BM3, GRCN, VBPR])
def test_they_are_what_a_recommender_recommends(kind):
    data = synthetic_catalog(num_users=60, num_items=150, interactions_per_user=9)
    model = kind(data.train, data.features, dim=8).eval()
    users = torch.arange(60)

    found = top_items(model.vectors(), users, 7, seen=data.train, item_block=32)

    expected = model.recommend(users, 7, seen=data.train)
    assert torch.equal(found.items, expected.items)
    torch.testing.assert_close(found.scores, expected.scores)


def test_items_that_get_better_and_better_replace_each_other():
    items = torch.arange(1000.0).unsqueeze(1)

    found = top_items(
        (torch.tensor([[1.0], [-1.0]]), items), torch.tensor([0, 1]), 3, item_block=64
    )

    assert found.items.tolist() == [[999, 998, 997], [0, 1, 2]]


class Largest(TorchDispatchMode):
    """The most elements that a result of any operation had."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.elements = max(self.elements, result.numel())
        return result


def test_no_table_of_users_by_items_is_ever_there():
    vectors, seen, target = random_case(seed=5, num_items=20_000)
    single = Vectors(vectors.users, vectors.items)
    with Largest() as largest:
        top_items(single, torch.arange(USERS), seen=seen, item_block=512)
        evaluate(single, target, seen=seen, item_block=512)
    # A block of scores, or of items; groups of 32 around the best 20 of each user.
    assert largest.elements <= USERS * (20 + 20 * 32)
    assert largest.elements < USERS * 20_000 / 20


def test_memory_maps_of_half_precision_are_multiplied_in_float32(tmp_path):
    vectors, seen, _ = random_case(seed=6, num_items=90)
    for name, table in zip(Vectors._fields, vectors, strict=True):
        np.save(tmp_path / f"{name}.npy", table.numpy().astype(np.float16))
    maps = [np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in Vectors._fields]

    found = top_items(tuple(maps), torch.arange(USERS), 5, seen=seen, item_block=32)

    read = Vectors(*(torch.from_numpy(np.array(x, dtype=np.float32)) for x in maps))
    assert found.scores.dtype == torch.float32
    assert found.items.tolist() == sorted_by_hand(read, range(USERS), 5, seen)[0]


def test_stored_zeros_are_not_seen_and_repeats_are():
    vectors = (torch.ones(1, 1), torch.tensor([[3.0], [2.0], [1.0]]))
    seen = coo_array(([0.0, 1.0, 1.0], ([0, 0, 0], [0, 1, 1])), shape=(1, 3))

    assert top_items(vectors, [0], 3, seen=seen).items.tolist() == [[0, 2, -1]]


@pytest.mark.parametrize("wrong", [4, 70])
def test_a_score_of_nan_is_refused_even_of_a_seen_item(wrong):
    vectors, seen, target = random_case(seed=7, num_items=100)
    vectors.items[wrong] = torch.nan
    seen = seen.toarray()
    seen[5, wrong] = 1
    for call in (
        lambda: top_items(vectors, [5], 2, seen=csr_array(seen), item_block=64),
        lambda: evaluate(vectors, target, users=[5], item_block=64),
    ):
        with pytest.raises(ValueError, match=f"score of user 5 for item {wrong} is. Has training"):
            call()


def test_a_progress_bar_is_shown_when_asked_for(capfd):
    vectors, _, _ = random_case(seed=8, num_items=30)
    top_items(vectors, torch.arange(3))
    assert capfd.readouterr().err == ""
    top_items(vectors, torch.arange(3), progress=True)
    assert "top_items: 100%" in capfd.readouterr().err


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_vectors_on_the_cpu_are_ranked_on_a_gpu_block_by_block():
    vectors, seen, _ = random_case(seed=9, num_items=500)
    users = torch.arange(USERS)

    found = top_items(vectors, users, 9, seen=seen, item_block=100, device="cuda")

    assert found.items.is_cuda
    expected = top_items(vectors, users, 9, seen=seen)
    assert torch.equal(found.items.cpu(), expected.items)


VECTORS, SEEN, TARGET = random_case(seed=10, num_items=40)
REFUSED = [
    ({"vectors": VECTORS.users}, TypeError, "vectors must be a pair, users (num_users, D) and"),
    ({"vectors": (VECTORS.users, VECTORS.items[:, 1:])}, ValueError, "of one width, .* 6 and 5"),
    ({"vectors": (VECTORS.users, VECTORS.items.long())}, ValueError, "items must be (num_items, w"),
    ({"users": [USERS]}, ValueError, "users must be (B,) indices in 0..12; got 13..13."),
    ({"k": 41}, ValueError, "k must be in 1..40 (the items there are); got 41."),
    ({"k": 0}, ValueError, "k must be an integer of at least 1; got 0."),
    ({"batch_size": 0}, ValueError, "batch_size must be an integer of at least 1; got 0."),
    ({"item_block": 0}, ValueError, "item_block must be an integer of at least 1; got 0."),
    ({"seen": SEEN.toarray()}, TypeError, "seen must be a SciPy sparse"),
    ({"seen": SEEN[:, 1:]}, ValueError, "seen must be (num_users, num_items) = (13, 40); got"),
]


@pytest.mark.parametrize(("changes", "error", "text"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_ranked_is_refused(changes, error, text):
    with pytest.raises(error) as caught:
        top_items(**{"vectors": VECTORS, "users": [0]} | changes)
    for part in text.split(" .* "):
        assert part in str(caught.value)


def test_vectors_of_another_catalog_are_not_evaluated():
    with pytest.raises(ValueError, match=r"users and items, \(13, 40\); got \(13, 39\) rows"):
        evaluate((VECTORS.users, VECTORS.items[1:]), TARGET)
