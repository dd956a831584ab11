"""Pareto fronts."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from eval.judging.dominance import undominated

POINTS = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=12)


def test_the_front_is_what_no_other_point_beats() -> None:
    points = {"a": (1.0, 5.0), "b": (2.0, 4.0), "c": (2.0, 4.5), "d": (3.0, 4.0), "e": (0.5, 9.0), "twin": (2.0, 4.0)}
    on_front = undominated(list(points.values()))
    assert {name for name, is_on in zip(points, on_front, strict=True) if is_on} == {"a", "b", "e", "twin"}
    assert undominated([]) == []


@given(POINTS)
def test_along_the_front_loss_falls_as_cost_rises(points: list[tuple[int, int]]) -> None:
    front = sorted({point for point, is_on in zip(points, undominated(points), strict=True) if is_on})
    assert bool(front) == bool(points)
    assert (np.diff([cost for cost, _ in front]) > 0).all()
    assert (np.diff([loss for _, loss in front]) < 0).all()
    for cost, loss in points:  # everything is matched by a point of the front
        assert any(a <= cost and b <= loss for a, b in front)
