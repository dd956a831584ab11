"""Checks of options that several methods share. Each raises a ValueError with name, value and what is allowed."""

from collections.abc import Mapping

from retom.checks import check_integer, check_number


def check_integers(method: object, **least: int) -> None:
    """ValueError unless the named attributes of `method` are integers of at least the given numbers."""
    for name, bound in least.items():
        check_integer(name, getattr(method, name), bound)


def check_ratio(ratio: float, areas: Mapping[str, int]) -> None:
    """ValueError for a ratio outside [0, 1) or above the maximum for windows of these areas (tokens, by name).

    Only sources can be merged, and one token in each window is a destination, so the maximum is 1 - 1 / area.
    """
    check_number("ratio", ratio, "[0, 1)")
    name = min(areas, key=areas.get)
    cap = 1 - 1 / areas[name]
    if ratio > cap + 1e-9:
        raise ValueError(
            f"ratio must be at most {cap:.4g} with {name} (one in every {areas[name]} tokens is a destination), "
            f"got {ratio}; "
            "use a smaller ratio or larger windows"
        )
