"""Methods and metrics of installed packages as a configuration states them: their class, and its options."""

import dataclasses
import inspect
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from omegaconf import MISSING

from baselines.adapter import Adapter
from eval.errors import RunError
from eval.metrics.measures import Metric
from retom import TokenMerger
from retom.extensions import METHODS, METRICS, find, load, refused
from scripts.command_line.nearest import nearest_to


def method_options(name: str) -> dict[str, Any]:
    """What a file conf/method/<name>.yaml of the installed method would hold.

    ExtensionError, which names the package: it cannot be used.
    """
    return options(find(METHODS, name), (TokenMerger, Adapter))


def extra_metrics(extra: Any) -> dict[str, dict[str, Any]]:
    """`metrics.extra` as options by column, the installed metrics among them with their class and defaults.

    extra: names of installed metrics, or options by column; those without a `_target_` are of the installed metric of
    that name. RunError: neither, or an unknown name or option. ExtensionError: a metric cannot be used.
    """
    given = {name: {} for name in extra} if isinstance(extra, list) and all(map(_is_name, extra)) else extra
    if not isinstance(given, dict) or not all(isinstance(own, dict | None) for own in given.values()):
        raise RunError(
            f"metrics.extra must be names of installed metrics, as [sharpness], or options by column, got {extra!r}"
        )
    return {name: own if "_target_" in (own or {}) else _metric(name, own or {}) for name, own in given.items()}


def _is_name(value: Any) -> bool:
    return isinstance(value, str)


def _metric(name: str, own: dict[str, Any]) -> dict[str, Any]:
    known = sorted(entry_points(group=METRICS).names)
    if name not in known:
        raise RunError(f"unknown metric {name!r} in metrics.extra{nearest_to(name, known)}")
    defaults = options(find(METRICS, name), (Metric,))
    for key in own:
        if key not in defaults:
            there = [field for field in defaults if field != "_target_"]
            raise RunError(f"unknown key metrics.extra.{name}.{key}{nearest_to(key, there)}")
    return {**defaults, **own}


def options(entry: EntryPoint, faces: tuple[type, ...]) -> dict[str, Any]:
    """`_target_` and the defaults of the dataclass that an entry point names; MISSING for a field without one.

    faces: the classes of which it must be one. ExtensionError: it is none, or cannot be imported.
    """
    built = load(entry)
    if not (isinstance(built, type) and dataclasses.is_dataclass(built)):
        raise refused(entry, "is not a dataclass")
    if not issubclass(built, faces):
        raise refused(entry, f"is no {' or '.join(f'{face.__module__}.{face.__name__}' for face in faces)}")
    if inspect.isabstract(built):
        raise refused(entry, f"does not define {', '.join(sorted(built.__abstractmethods__))}")
    fields = [field for field in dataclasses.fields(built) if field.init]
    return {"_target_": f"{entry.module}.{entry.attr}"} | {field.name: _default(field, entry) for field in fields}


def _default(field: dataclasses.Field, entry: EntryPoint) -> Any:
    if field.default_factory is not dataclasses.MISSING:
        return _plain(field.default_factory(), field.name, entry)
    return MISSING if field.default is dataclasses.MISSING else _plain(field.default, field.name, entry)


def _plain(value: Any, name: str, entry: EntryPoint) -> Any:
    """A default as YAML holds it."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, name, entry) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item, name, entry) for key, item in value.items()}
    if dataclasses.is_dataclass(value):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return {"_target_": f"{type(value).__module__}.{type(value).__qualname__}", **_plain(fields, name, entry)}
    raise refused(entry, f"has the default {value!r} of {name}, which is no number, text, list or dataclass")
