"""What options are checked against: a ValueError with the name, the value and what is allowed, whatever was given."""

import numbers
from collections.abc import Collection, Iterable, Mapping
from typing import Any


def check_number(name: str, value: object, interval: str) -> None:
    """ValueError where `value` is no number in `interval`, which is written as "[0, 1)" or "(0, inf)"."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _contains(interval, value):
        raise ValueError(f"{name} must be in {interval}, got {value!r}")


def _contains(interval: str, value: Any) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value > low or (value == low and interval[0] == "[")
    below = value < high or (value == high and interval[-1] == "]")
    return bool(above and below)


def check_integer(name: str, value: object, least: int) -> None:
    """ValueError where `value` is no integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_flag(name: str, value: object) -> None:
    """ValueError where `value` is neither True nor False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """ValueError where `value` is none of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def as_tuple(value: object) -> object:
    """What holds several values as the tuple that a frozen method holds; a text, a mapping or one value as it is, for
    the check that follows to refuse.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return tuple(value)
    return value
