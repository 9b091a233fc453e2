import numpy as np
import torch

from sgfd._seed import seeded


def draw(seed: int, stream: int) -> torch.Tensor:
    with seeded(seed, stream=stream):
        return torch.rand(8)


def test_a_seed_repeats_and_leaves_the_generator_alone():
    state = torch.get_rng_state()
    assert torch.equal(draw(3, 0), draw(3, 0))
    assert torch.equal(draw(3, 1), draw(3, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(draw(3, 0), torch.rand(8, generator=torch.Generator().manual_seed(3)))


def test_seeds_and_streams_draw_numbers_of_their_own():
    draws = [draw(seed, stream) for seed in (0, 1, 2) for stream in (0, 1)]
    for i, first in enumerate(draws):
        assert not any(torch.equal(first, second) for second in draws[:i])


def test_a_seed_may_be_a_number_of_numpys():
    assert torch.equal(draw(np.int64(3), 0), draw(3, 0))
    assert torch.equal(draw(np.uint8(3), 1), draw(3, 1))
