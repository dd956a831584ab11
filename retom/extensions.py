"""What other installed packages add: families, methods and metrics, declared as entry points.

A package declares them in its pyproject.toml, by group and name:

    [project.entry-points."retom.families"]
    dit = "my_models.dit:DiT"
"""

import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint, entry_points
from typing import Any

FAMILIES, METHODS, METRICS = GROUPS = "retom.families", "retom.methods", "retom.metrics"


class ExtensionError(ValueError):
    """An entry point that cannot be used. The message names it, its package and what to do."""


def declared(group: str) -> dict[str, EntryPoint]:
    """The entry points of a group by name, in alphabetical order. Nothing is imported.

    Of two packages that declare the same name, the first in alphabetical order counts, with a warning.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(_distinct(group), key=lambda entry: (entry.name, package_of(entry))):
        first = found.setdefault(entry.name, entry)
        if first is not entry:
            warnings.warn(f"{described(entry)} is ignored: {package_of(first)} declares it, too", stacklevel=2)
    return found


def find(group: str, name: str) -> EntryPoint:
    """The entry point of that name; the others of its group do not matter. Nothing is imported.

    Raises:
        ExtensionError: if no package declares it, or two do.
    """
    found = sorted((entry for entry in _distinct(group) if entry.name == name), key=package_of)
    if not found:
        raise ExtensionError(f"no installed package declares {group} {name!r}; install the package that has it")
    if len(found) > 1:
        raise ExtensionError(f"{described(found[0])} and {described(found[1])}; uninstall one of them")
    return found[0]


def _distinct(group: str) -> Iterator[EntryPoint]:
    """Entry points of a group. A package that is on the path twice (an editable install) is listed once."""
    seen = set()
    for entry in entry_points(group=group):
        key = entry.name, entry.value, package_of(entry)
        if key not in seen:
            seen.add(key)
            yield entry


def load(entry: EntryPoint) -> Any:
    """Import what an entry point names.

    Raises:
        ExtensionError: if that fails, for whatever reason.
    """
    try:
        return entry.load()
    except Exception as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        raise refused(entry, f"cannot be imported ({why})") from error


def refused(entry: EntryPoint, why: str) -> ExtensionError:
    """The error for an entry point that cannot be used."""
    return ExtensionError(f"{described(entry)} {why}; fix or uninstall the package {package_of(entry)}")


def described(entry: EntryPoint) -> str:
    """An entry point in words, for messages."""
    return f"{entry.group} {entry.name!r} of the package {package_of(entry)} ({entry.value})"


def package_of(entry: EntryPoint) -> str:
    """The name of the package that declares an entry point."""
    return "?" if entry.dist is None else entry.dist.name
