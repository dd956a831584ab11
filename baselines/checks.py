"""Checks that several methods make of their options: ValueError with the name, the value and what is allowed."""

from collections.abc import Mapping

from retom.checks import check_integer, check_number


def check_integers(method: object, **least: int) -> None:
    """ValueError where a named attribute of `method` is no integer of at least the number given."""
    for name, bound in least.items():
        check_integer(name, getattr(method, name), bound)


def check_ratio(ratio: float, areas: Mapping[str, int]) -> None:
    """ValueError for a ratio outside of [0, 1), or above what windows of these areas (tokens, by name) can honour.

    Only sources can be merged away, and one token in each window is none: 1 - 1 / area is the most there is.
    """
    check_number("ratio", ratio, "[0, 1)")
    name = min(areas, key=areas.get)
    cap = 1 - 1 / areas[name]
    if ratio > cap + 1e-9:
        raise ValueError(
            f"ratio must be at most {cap:.4g} with {name} (one in every {areas[name]} tokens is a destination), "
            f"got {ratio}; "
            "take a smaller ratio or larger windows"
        )
