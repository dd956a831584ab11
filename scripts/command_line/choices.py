"""The names of choices: the files of conf/, and the methods and metrics of installed packages. Imports none of them."""

from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

# As retom.extensions names them. Importing that imports torch, and a misspelt name must be answered at once.
METHODS, METRICS = "retom.methods", "retom.metrics"
GROUPS = ("retom.families", METHODS, METRICS)
_INSTALLED = {"method": METHODS}


def choices(conf: Path, group: str) -> list[str]:
    """What GROUP=NAME may name, in alphabetical order."""
    return sorted({*shipped(conf, group), *installed(group)})


def shipped(conf: Path, group: str) -> list[str]:
    """The choices of a group that are files of `conf`."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def installed(group: str) -> list[str]:
    """The choices of a group of conf/ that installed packages declare as entry points."""
    return sorted(entry_points(group=_INSTALLED[group]).names) if group in _INSTALLED else []


def overruled(conf: Path) -> list[str]:
    """A message for every installed choice that is not used because a file of `conf` has its name."""
    taken = [(group, name) for group in _INSTALLED for name in installed(group) if name in shipped(conf, group)]
    if not taken:
        return []
    from retom.extensions import find, refused  # with it comes torch

    why = "is not used, because the benchmark has a choice of this name"
    return [str(refused(find(_INSTALLED[group], name), why)) for group, name in taken]


def declaring_packages() -> set[str]:
    """The top-level packages of all families, methods and metrics that installed packages declare."""
    return {_package(entry) for group in GROUPS for entry in entry_points(group=group)}


def _package(entry: EntryPoint) -> str:
    return entry.value.partition(":")[0].partition(".")[0].strip()
