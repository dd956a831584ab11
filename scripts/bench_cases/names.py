"""The names of methods in cells, checked before torch is imported."""

from collections.abc import Mapping
from typing import Any

from eval.errors import RunError
from scripts.command_line.nearest import nearest_to


def check_name(name: str, specs: Mapping[str, Any]) -> None:
    """RunError if a cell names a method that is not in `specs`."""
    if name not in specs:
        raise RunError(f"unknown method {name!r} in cells{nearest_to(str(name), list(specs))}")
