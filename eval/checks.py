"""What the values of a configuration are checked against when its dataclasses are made."""

import math
import numbers


def check_integer(name: str, value: object, least: int, most: int | None = None) -> None:
    """ValueError naming `name` where `value` is no integer of at least `least`, and of at most `most` where given."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        allowed = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{name} must be an integer {allowed}, got {value!r}")


def check_number(name: str, value: object, least: float, *, most: float | None = None, below: float = math.inf) -> None:
    """ValueError naming `name` where `value` is no number in [least, most], or in [least, below)."""
    number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not number or not least <= value < below or (most is not None and value > most):
        ends = f"{most:g}]" if most is not None else f"{below:g})"
        allowed = f"of at least {least:g}" if ends == "inf)" else f"in [{least:g}, {ends}"
        raise ValueError(f"{name} must be a number {allowed}, got {value!r}")


def check_flag(name: str, value: object) -> None:
    """ValueError naming `name` where `value` is not a bool."""
    if not isinstance(value, bool):
        raise ValueError(f"{name} must be true or false, got {value!r}")


def check_text(name: str, value: object) -> None:
    """ValueError naming `name` where `value` is neither a string nor None."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a string or null, got {value!r}")
