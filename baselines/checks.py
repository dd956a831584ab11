"""Checks that several methods make of their options: ValueError with the name, the value and what is allowed."""

from collections.abc import Mapping


def check_integers(method: object, **least: int) -> None:
    """ValueError where a named attribute of `method` is no integer of at least the number given."""
    for name, bound in least.items():
        value = getattr(method, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < bound:
            raise ValueError(f"{name} must be an integer of at least {bound}, got {value!r}")


def check_ratio(ratio: float, areas: Mapping[str, int]) -> None:
    """ValueError for a ratio outside of [0, 1), or above what windows of these areas (tokens, by name) can honour.

    Only sources can be merged away, and one token in each window is none: 1 - 1 / area is the most there is.
    """
    if not 0 <= ratio < 1:
        raise ValueError(f"ratio must be in [0, 1), got {ratio}")
    name = min(areas, key=areas.get)
    cap = 1 - 1 / areas[name]
    if ratio > cap + 1e-9:
        raise ValueError(
            f"ratio must be at most {cap:.4g} with {name} (one in every {areas[name]} tokens is a destination), "
            f"got {ratio}; "
            "take a smaller ratio or larger windows"
        )


def check_max_downsample(max_downsample: int | None) -> None:
    """ValueError unless None (every depth) or at least 1."""
    if max_downsample is not None and max_downsample < 1:
        raise ValueError(f"max_downsample must be None or at least 1, got {max_downsample}")
