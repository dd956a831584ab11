"""What the values of a configuration are checked against when its dataclasses are made."""


def check_integer(name: str, value: object, least: int, most: int | None = None) -> None:
    """ValueError naming `name` where `value` is no integer of at least `least`, and of at most `most` where given."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (most is not None and value > most):
        allowed = f"of at least {least}" if most is None else f"in [{least}, {most}]"
        raise ValueError(f"{name} must be an integer {allowed}, got {value!r}")


def check_text(name: str, value: object) -> None:
    """ValueError naming `name` where `value` is neither a string nor None."""
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{name} must be a string or null, got {value!r}")
