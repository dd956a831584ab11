"""Restricts what a configuration can do. Configuration files are input: they may choose values and build classes of
trusted packages. Everything else by which Hydra would import or run something named in a file is refused in advance.

Trusted are the packages of this project, those named on the command line (`trusted=`), and those that declare a family,
a method or a metric as an entry point. To declare one a package must be installed, and an installed package can run
code at every start of Python anyway: naming it again would protect nobody. A file of somebody else may then build the
dataclasses of that package, as it may build those of this project.
"""

import contextlib
import dataclasses
import importlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf

from eval.errors import RunError
from eval.records.targets import OURS
from scripts.command_line.choices import declaring_packages

RESERVED = ("_partial_", "_args_", "_recursive_", "_convert_", "_mode_")
REFERENCE = re.compile(r"\$\{[A-Za-z_][\w.]*\}")
# Names that logging's dictConfig would import; these are used by Hydra's own choices.
LOGGING_NAMES = ("()", "class", "queue", "listener")
LOGGING_CLASSES = ("logging.StreamHandler", "logging.Formatter", "colorlog.ColoredFormatter")
LOGGING_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"


def check_targets(where: str, options: Any, trusted: Sequence[str] = ()) -> list[tuple[str, dict, type]]:
    """Key, options and class of all in `options` that has a `_target_`, the outermost first, after checking every one.

    where: the key of `options`, for messages. RunError: a `_target_`, at any depth, is not of a trusted package
    (nothing is imported then), does not exist, is not a dataclass, or was imported by its module from another package.
    """
    built = []
    for key, value in _walk(where, options):
        name = key.rpartition(".")[2]
        if name in RESERVED:
            raise RunError(f"{key} is not allowed in a configuration; only _target_ and the options of its class are")
        if name == "_target_":
            _check_name(key, value, trusted)
        if isinstance(value, dict) and "_target_" in value:
            built.append((key, value))
    return [(key, own, _locate(f"{key}._target_", own["_target_"], trusted)) for key, own in built]


def check_composed(config: DictConfig, trusted: Sequence[str]) -> None:
    """RunError if a composed configuration would run more than it may: see the top of this file.

    trusted: the packages named on the command line. Files cannot add to them.
    """
    plain = OmegaConf.to_container(config, resolve=False)
    own = plain.pop("hydra", None) or {}
    named = plain.get("trusted") or []
    extra = [name for name in named if name not in trusted] if isinstance(named, list) else [named]
    if extra or "trusted" in ((own.get("sweeper") or {}).get("params") or {}):
        raise RunError(
            f"a configuration file sets trusted to {named!r}; trusted packages can only be set on the command line: "
            "trusted=[my_package]"
        )
    for key, value in _walk("", plain):
        if isinstance(value, str) and "${" in REFERENCE.sub("", value):
            raise RunError(
                f"{key} is {value!r}; a configuration may refer to its keys (${{key.path}}) but not call a resolver, "
                "such as one that reads the environment: set the value itself"
            )
    check_targets("hydra.callbacks", own.get("callbacks"), trusted)
    for group in ("job_logging", "hydra_logging"):
        _check_logging(f"hydra.{group}", own.get(group))


def named_on_command_line(arguments: Sequence[str]) -> tuple[str, ...]:
    """The packages of `trusted=[...]` among `arguments`. RunError: it is neither a name nor a list of names."""
    found: list[str] = []
    for argument in arguments:
        if not re.match(r"\+{0,2}trusted=", argument):
            continue
        try:
            value = OverridesParser.create().parse_override(argument).value()
        except HydraException:
            value = None
        names = value if isinstance(value, list) else [value]
        wrong = [name for name in names if not (isinstance(name, str) and name.isidentifier())]
        if wrong:
            raise RunError(f"trusted must be a list of top-level packages, such as [my_methods], got {argument!r}")
        found += names
    return tuple(found)


@contextlib.contextmanager
def vetting(trusted: Sequence[str]) -> Iterator[None]:
    """Check every configuration that Hydra composes in the block before Hydra acts on it.

    Hydra instantiates callbacks and configures logging before it calls this project's code, and composes each job of a
    sweep again. Its loader is the only place that all of them pass through.
    """
    load = ConfigLoaderImpl.load_configuration

    def checked(self: ConfigLoaderImpl, *arguments: Any, **options: Any) -> DictConfig:
        config = load(self, *arguments, **options)
        check_composed(config, trusted)
        return config

    ConfigLoaderImpl.load_configuration = checked
    try:
        yield
    finally:
        ConfigLoaderImpl.load_configuration = load


def _locate(key: str, target: str, trusted: Sequence[str]) -> type:
    module, _, name = target.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise RunError(f"{key} names {target}, which does not exist ({error}); check its spelling and path") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise RunError(f"{key} names {target}, which is not a dataclass; a configuration builds dataclasses only")
    _check_name(key, f"{found.__module__}.{name}", trusted)  # a module also contains what it imports
    return found


def _check_name(key: str, target: Any, trusted: Sequence[str]) -> None:
    if not isinstance(target, str) or not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", target):
        raise RunError(f"{key} must name a class as package.module.Class, got {target!r}")
    package = target.partition(".")[0]
    if package not in (*OURS, *trusted) and package not in declaring_packages():
        raise RunError(
            f"{key} names {target}, which is not of {', '.join(OURS)}; to let a configuration run code of the package "
            f"{package}, allow it on the command line: trusted=[{package}]"
        )


def _check_logging(where: str, options: Any) -> None:
    for key, value in _walk(where, options):
        name = key.rpartition(".")[2]
        file = name == "class" and value == "logging.FileHandler"
        named = name in LOGGING_NAMES and value not in LOGGING_CLASSES and not file
        foreign = isinstance(value, str) and "://" in value and value not in ("ext://sys.stdout", "ext://sys.stderr")
        if named or foreign or (name == "filename" and value != LOGGING_FILE):
            raise RunError(f"{key} is {value!r}; a configuration may log to the terminal or as Hydra's own choices do")


def _walk(where: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every value in nested mappings and lists with its dotted key, including containers."""
    if where:
        yield where, value
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _walk(f"{where}.{key}" if where else str(key), item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _walk(f"{where}[{index}]", item)
