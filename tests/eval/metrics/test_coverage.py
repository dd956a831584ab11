"""The 95% interval of a paired difference holds the known one in 92 to 98% of trials, few classes or many."""

import pytest

from tests.eval.metrics.gaussian_trials import CLASSES, PER_CLASS, coverage

TRIALS = 200
LOW, HIGH = 0.92, 0.98


@pytest.mark.slow
@pytest.mark.parametrize("per_class", PER_CLASS)
@pytest.mark.parametrize("classes", CLASSES)
def test_a_known_difference_is_held(classes: int, per_class: int) -> None:
    found = coverage("shift", classes, per_class, TRIALS)
    assert LOW <= found.population <= HIGH
    assert LOW <= found.expected <= HIGH


@pytest.mark.slow
@pytest.mark.parametrize("per_class", PER_CLASS)
@pytest.mark.parametrize("classes", CLASSES)
def test_the_expected_difference_is_held_where_the_bias_differs(classes: int, per_class: int) -> None:
    assert LOW <= coverage("merge", classes, per_class, TRIALS).expected <= HIGH
