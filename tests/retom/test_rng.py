"""Random destinations: pure functions of (seed, step, layer, window), and uniform."""

import pytest
import torch
from scipy import stats

from retom.rng import check_seeds, uniform_index


def draw(seed=0, step=0, layer=0):
    return uniform_index(torch.tensor([seed]), step, layer, torch.arange(64), 4)[0]


def splitmix64(z):
    """The published function, with Python integers."""
    z = (z + 0x9E3779B97F4A7C15) % 2**64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
    return z ^ (z >> 31)


def test_a_draw_is_the_published_function():
    for seed, step, layer, window, size in [(0, 0, 0, 0, 4), (7, 3, 2, 9, 256), (1 << 62, 50, 15, 1023, 5)]:
        key = splitmix64((splitmix64((splitmix64(seed) + step) % 2**64) + layer) % 2**64)
        expected = (splitmix64((key + window) % 2**64) >> 33) % size
        assert uniform_index(torch.tensor([seed]), step, layer, torch.tensor([window]), size).item() == expected


def test_the_same_arguments_give_the_same_draw_and_each_of_them_matters():
    base = draw()
    assert torch.equal(base, draw())
    for other in (draw(seed=1), draw(step=1), draw(layer=1), draw(seed=1 << 40)):
        assert not torch.equal(base, other)


def test_a_draw_does_not_depend_on_the_rest_of_the_batch():
    windows = torch.arange(64)
    together = uniform_index(torch.tensor([7, 3, 7]), 5, 2, windows, 16)
    assert torch.equal(together[0], together[2])
    assert torch.equal(together[1], uniform_index(torch.tensor([3]), 5, 2, windows, 16)[0])


@pytest.mark.parametrize("size", [2, 3, 4, 64, 256])
def test_draws_are_uniform(size):
    drawn = uniform_index(torch.arange(4000), 3, 2, torch.arange(64), size)
    counts = torch.bincount(drawn.flatten(), minlength=size)
    assert counts.shape == (size,)
    assert stats.chisquare(counts.numpy()).pvalue > 1e-3


def test_neighbouring_seeds_and_steps_are_uncorrelated():
    pairs = torch.stack([draw(s, 0) * 4 + draw(s + 1, 0) for s in range(300)]).flatten()
    assert stats.chisquare(torch.bincount(pairs, minlength=16).numpy()).pvalue > 1e-3


@pytest.mark.parametrize("seeds", [None, [1], [1.0, 2.0], [[1, 2]]])
def test_bad_seeds_are_refused(seeds):
    with pytest.raises(ValueError, match="seeds must be"):
        check_seeds(seeds, 2, torch.device("cpu"))
