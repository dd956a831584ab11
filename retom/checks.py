"""Checks of options. Each raises a ValueError with the name, the value and what is allowed."""

import numbers
from collections.abc import Collection, Iterable, Mapping
from typing import Any


def check_number(name: str, value: object, interval: str) -> None:
    """ValueError unless `value` is a number in `interval`, which is written as "[0, 1)" or "(0, inf)"."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real) or not _contains(interval, value):
        raise ValueError(f"{name} must be in {interval}, got {value!r}")


def _contains(interval: str, value: Any) -> bool:
    low, high = (float(end) for end in interval[1:-1].split(","))
    above = value > low or (value == low and interval[0] == "[")
    below = value < high or (value == high and interval[-1] == "]")
    return bool(above and below)


def check_integer(name: str, value: object, least: int) -> None:
    """ValueError unless `value` is an integer of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}")


def check_flag(name: str, value: object) -> None:
    """ValueError unless `value` is True or False."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be True or False, got {value!r}")


def check_choice(name: str, value: object, allowed: Collection[str]) -> None:
    """ValueError unless `value` is one of `allowed`."""
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def as_tuple(value: object) -> object:
    """Convert an iterable to a tuple, for fields of frozen dataclasses.

    Strings, mappings and single values are returned unchanged, so that the check that follows rejects them.
    """
    if isinstance(value, Iterable) and not isinstance(value, str | Mapping):
        return tuple(value)
    return value
