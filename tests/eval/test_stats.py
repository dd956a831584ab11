import numpy as np
import pytest

from eval.fid import fid, fid_replicates, moments
from eval.stats import STEP, Bootstrap, class_positions, class_weights, difference, interval, mean_replicates


def test_draws_are_shared_by_seed_and_differ_between_seeds():
    assert np.array_equal(class_weights(Bootstrap(50, seed=3), 20), class_weights(Bootstrap(50, seed=3), 20))
    assert not np.array_equal(class_weights(Bootstrap(50, seed=3), 20), class_weights(Bootstrap(50, seed=4), 20))
    assert np.allclose(class_weights(Bootstrap(50), 20).sum(1), 20)
    assert class_weights(Bootstrap(50), 20).min() > 0


def test_more_replicates_begin_with_the_fewer():
    assert np.array_equal(class_weights(Bootstrap(100), 9)[:50], class_weights(Bootstrap(50), 9))


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
    weights = class_weights(Bootstrap(400), 50)
    for _ in range(300):
        values = generator.normal(size=50).repeat(2) + 0.3 * generator.normal(size=100)
        low, high = interval(values.mean(), mean_replicates(values, positions, weights))
        hits += low <= 0 <= high
    assert 0.90 <= hits / 300 <= 0.98


def test_frechet_replicates_scatter_as_fresh_pictures_do():
    generator = np.random.default_rng(0)
    reference, positions = moments(generator.normal(size=(160, 40))), np.repeat(np.arange(20), 2)
    fresh = [fid(generator.normal(size=(40, 40)), reference) for _ in range(150)]
    weights, scatter = class_weights(Bootstrap(40), 20)[:, positions], []
    for _ in range(20):
        features = generator.normal(size=(40, 40))
        value, replicates = fid(features, reference), fid_replicates(features, weights, reference)
        low, high = interval(value, replicates)
        assert low < value < high
        scatter.append(replicates.std() / STEP)
    # Plain resampling gives about 4 here, with as many pictures as dimensions.
    assert 0.7 < np.mean(scatter) / np.std(fresh) < 1.9


def test_paired_difference_is_narrower_than_an_unpaired_one():
    generator = np.random.default_rng(1)
    base = generator.normal(size=100)
    other = base + 0.1 + 0.01 * generator.normal(size=100)
    positions = np.repeat(np.arange(50), 2)
    weights, others = (class_weights(Bootstrap(300, seed), 50) for seed in (0, 1))
    one, two = mean_replicates(other, positions, weights), mean_replicates(base, positions, weights)
    paired = difference(other.mean(), one, base.mean(), two)
    unpaired = difference(other.mean(), one, base.mean(), mean_replicates(base, positions, others))
    width = np.ptp(paired["interval"])
    assert width < 0.1 * np.ptp(unpaired["interval"])
    assert paired["interval"][0] < 0.1 < paired["interval"][1]


@pytest.mark.parametrize("bad", [{"replicates": 1}, {"confidence": 1.0}])
def test_bad_values(bad):
    with pytest.raises(ValueError, match="must be"):
        Bootstrap(**bad)
