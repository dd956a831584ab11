"""Pareto fronts: which of several points no other one beats."""

from collections.abc import Sequence


def undominated(points: Sequence[tuple[float, float]]) -> list[bool]:
    """For each point (cost, loss), lower is better in both, whether no other equals or beats it in both and beats one.

    Equal points are on the front together.
    """
    return [
        not any(other != (cost, loss) and other[0] <= cost and other[1] <= loss for other in points)
        for cost, loss in points
    ]
