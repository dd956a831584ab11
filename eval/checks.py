"""Checks of configuration values, used by dataclasses on construction."""

import importlib.util
import numbers
from pathlib import Path


def check_integer(name: str, value: object, least: int, most: int | None = None) -> None:
    """ValueError naming `name` unless `value` is an integer of at least `least` (and at most `most`, if given)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        allowed = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{name} must be an integer {allowed}, got {value!r}")


def check_number(name: str, value: object, interval: str) -> None:
    """ValueError unless `value` is a number in `interval`, written as "[0, 1)" or "(0, inf)"."""
    low, high = (float(end) for end in interval[1:-1].split(","))
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    outside = number and (value < low or value > high or value != value)
    on_end = number and ((value == low and interval[0] == "(") or (value == high and interval[-1] == ")"))
    if not number or outside or on_end:
        raise ValueError(f"{name} must be in {interval}, got {value!r}")


def check_flag(name: str, value: object) -> None:
    """ValueError naming `name` unless `value` is a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")


def check_text(name: str, value: object) -> None:
    """ValueError naming `name` unless `value` is a string or None."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a string or null, got {value!r}")


def packaged_file(package: str, path: str) -> Path:
    """The file `path` of an installed package, found without importing it: that takes seconds, and a check must not."""
    return Path(importlib.util.find_spec(package).origin).parent / path
