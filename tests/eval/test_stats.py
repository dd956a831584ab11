import numpy as np
import pytest

from eval.fid import fid, fid_replicates, moments
from eval.stats import Bootstrap, class_draws, class_positions, difference, interval, mean_replicates


def test_draws_are_shared_by_seed_and_differ_between_seeds():
    assert np.array_equal(class_draws(Bootstrap(50, seed=3), 20), class_draws(Bootstrap(50, seed=3), 20))
    assert not np.array_equal(class_draws(Bootstrap(50, seed=3), 20), class_draws(Bootstrap(50, seed=4), 20))
    assert (class_draws(Bootstrap(50), 20).sum(1) == 20).all()


def test_more_replicates_begin_with_the_fewer():
    assert np.array_equal(class_draws(Bootstrap(100), 9)[:50], class_draws(Bootstrap(50), 9))


def test_positions_follow_the_class_index():
    positions, count = class_positions(np.array([7, 3, 7, 900]))
    assert positions.tolist() == [1, 0, 1, 2]
    assert count == 3


def test_means_weigh_whole_classes():
    values, positions = np.array([1.0, 3.0, 10.0]), np.array([0, 0, 1])
    assert mean_replicates(values, positions, np.array([[1, 1], [2, 0], [0, 2]])).tolist() == [14 / 3, 2.0, 10.0]


def test_interval_of_a_mean_covers_at_its_rate():
    generator, hits = np.random.default_rng(0), 0
    positions = np.repeat(np.arange(50), 2)
    draws = class_draws(Bootstrap(400), 50)
    for _ in range(300):
        values = generator.normal(size=50).repeat(2) + 0.3 * generator.normal(size=100)
        low, high = interval(values.mean(), mean_replicates(values, positions, draws))
        hits += low <= 0 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_frechet_intervals_hold_the_value_though_its_replicates_lie_above():
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(80, 40)), generator.normal(size=(200, 40))
    positions = np.repeat(np.arange(40), 2)
    value = fid(a, moments(b))
    replicates = fid_replicates(a, class_draws(Bootstrap(60), 40)[:, positions], moments(b))
    assert replicates.min() > value
    low, high = interval(value, replicates)
    assert low < value < high


def test_paired_difference_is_narrower_than_an_unpaired_one():
    generator = np.random.default_rng(1)
    base = generator.normal(size=100)
    other = base + 0.1 + 0.01 * generator.normal(size=100)
    positions = np.repeat(np.arange(50), 2)
    draws, others = (class_draws(Bootstrap(300, seed), 50) for seed in (0, 1))
    one, two = mean_replicates(other, positions, draws), mean_replicates(base, positions, draws)
    paired = difference(other.mean(), one, base.mean(), two)
    unpaired = difference(other.mean(), one, base.mean(), mean_replicates(base, positions, others))
    width = np.ptp(paired["interval"])
    assert width < 0.1 * np.ptp(unpaired["interval"])
    assert paired["interval"][0] < 0.1 < paired["interval"][1]


@pytest.mark.parametrize("bad", [{"replicates": 1}, {"confidence": 1.0}])
def test_bad_values(bad):
    with pytest.raises(ValueError, match="must be"):
        Bootstrap(**bad)
