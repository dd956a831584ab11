import numpy as np
import pytest
from scipy.stats import mannwhitneyu

from eval.metrics.stats import (
    Bootstrap,
    class_draws,
    class_influences,
    class_positions,
    difference,
    interval,
    mean_influences,
    shift,
)


def test_draws_are_shared_by_seed_and_differ_between_seeds():
    assert np.array_equal(class_draws(Bootstrap(50, seed=3), 20), class_draws(Bootstrap(50, seed=3), 20))
    assert not np.array_equal(class_draws(Bootstrap(50, seed=3), 20), class_draws(Bootstrap(50, seed=4), 20))
    assert set(class_draws(Bootstrap(50), 20).sum(1)) == {20}


def test_more_replicates_begin_with_the_fewer():
    assert np.array_equal(class_draws(Bootstrap(100), 9)[:50], class_draws(Bootstrap(50), 9))


def test_positions_follow_the_class_index():
    positions, count = class_positions(np.array([7, 3, 7, 900]))
    assert positions.tolist() == [1, 0, 1, 2]
    assert count == 3


def test_influences_on_a_mean_are_what_classes_add_to_it():
    values, positions = np.array([1.0, 3.0, 10.0, 2.0]), np.array([0, 0, 1, 1])
    assert mean_influences(values, positions).tolist() == [-2.0, 2.0]
    assert class_influences(np.array([1.0, 2.0, 3.0]), np.array([0, 1, 0])).tolist() == [8.0, 4.0]


def test_interval_is_the_textbooks_bootstrap_t():
    values, bootstrap = np.random.default_rng(5).exponential(size=12), Bootstrap(500)
    quotients = []
    for draw in class_draws(bootstrap, 12).astype(int):
        sample = np.repeat(values, draw)
        quotients.append((sample.mean() - values.mean()) / (sample.std(ddof=1) / np.sqrt(12)))
    error = values.std(ddof=1) / np.sqrt(12)
    low, high = np.quantile(quotients, 0.025, method="lower"), np.quantile(quotients, 0.975, method="higher")
    expected = [values.mean() - high * error, values.mean() - low * error]
    assert interval(values.mean(), mean_influences(values, np.arange(12)), bootstrap) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [6, 20, 100])
def test_interval_of_a_mean_covers_at_its_rate(classes):
    generator, hits, bootstrap = np.random.default_rng(classes), 0, Bootstrap(1000)
    positions = np.repeat(np.arange(classes), 2)
    for _ in range(300):
        values = generator.normal(size=classes).repeat(2) + 0.3 * generator.normal(size=2 * classes)
        low, high = interval(values.mean(), mean_influences(values, positions), bootstrap)
        hits += low <= 0 <= high
    assert 0.92 <= hits / 300 <= 0.98


def test_paired_difference_is_narrower_than_the_values_own_intervals():
    generator = np.random.default_rng(1)
    base = generator.normal(size=100)
    other = base + 0.1 + 0.01 * generator.normal(size=100)
    positions, bootstrap = np.repeat(np.arange(50), 2), Bootstrap()
    one, two = mean_influences(other, positions), mean_influences(base, positions)
    paired = difference(other.mean(), one, base.mean(), two, bootstrap)
    assert paired["value"] == other.mean() - base.mean()
    assert np.ptp(paired["interval"]) < 0.1 * np.ptp(interval(other.mean(), one, bootstrap))
    assert paired["interval"][0] < 0.1 < paired["interval"][1]


def test_no_difference_has_no_width():
    assert interval(2.0, np.zeros(10), Bootstrap()) == [2.0, 2.0]


def test_what_cannot_be_reported_has_no_interval():
    assert interval(2.0, np.arange(4.0), Bootstrap()) is None
    one_class = np.where(np.arange(30) == 3, 1.0, 0.0)  # a third of the draws miss the one class that differs
    assert interval(2.0, one_class, Bootstrap()) is None
    assert interval(2.0, one_class + 0.1 * np.arange(30), Bootstrap()) is not None


@pytest.mark.parametrize("bad", [{"replicates": 1}, {"replicates": 20.5}, {"replicates": "many"}, {"seed": -1}])
def test_bad_values(bad):
    with pytest.raises(ValueError, match="must be"):
        Bootstrap(**bad)


def test_shift_is_that_of_the_rank_test():
    generator = np.random.default_rng(0)
    one, other = generator.exponential(size=20) + 0.5, generator.exponential(size=24)
    value, (low, high) = shift(one, other)
    assert low < value < high

    def p_at(end):
        return mannwhitneyu(one - end, other, method="asymptotic", use_continuity=False).pvalue

    # The rank is rounded to the safe side: one step of p beyond 0.05.
    assert max(p_at(low - 1e-9), p_at(high + 1e-9)) < 0.05
    assert min(p_at(low + 1e-9), p_at(high - 1e-9)) > 0.045


def test_shift_of_few_values_has_no_interval():
    assert shift([1.0, 2.0], [0.0, 0.5]) == (1.25, None)
