"""One-line messages for a misspelt group, choice or key, with the nearest existing name."""

import contextlib
import difflib
import re
from collections.abc import Sequence
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf

from eval.errors import first_line
from scripts.command_line.choices import choices


def explain(error: Exception, arguments: Sequence[str], conf: Path, config: str = "config") -> str:
    """A one-line message for an error of Hydra or OmegaConf while composing `arguments` over conf/`config`.yaml."""
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        return f"unknown {group} {choice!r}{nearest_to(choice, list(error.options))}"
    listed = re.search(r"Could not load '([\w/]+)/([\w-]+)'", str(error))  # one of GROUP=[CHOICE,CHOICE]
    if isinstance(error, MissingConfigException) and listed:
        group, choice = listed.groups()
        return f"unknown {group} {choice!r}{nearest_to(choice, choices(conf, group))}"
    if isinstance(error, OverrideParseException):
        why = first_line(error)
        return f"cannot read the override {error.override!r}: {why}; write name=value, and quotation marks around text"
    several = re.search(r"Ambiguous value for argument '(.+)'", str(error))
    if several:
        key, _, values = several.group(1).partition("=")
        return (
            f"{key} has the values {values}; sweep over them with --multirun, or quote one text: {key}=\"'{values}'\""
        )
    key = _key_of(str(error), arguments)
    if key is not None:
        return _unknown_key(key, arguments, conf, config)
    return first_line(error)


def _key_of(message: str, arguments: Sequence[str]) -> str | None:
    """The overridden key that Hydra could not find, as written on the command line."""
    found = re.search(r"Could not override '([^']+)'", message)
    if found is None:
        return None
    key = found.group(1).split("@")[0]
    return key if any(_key(argument) == key for argument in arguments) else None


def _unknown_key(key: str, arguments: Sequence[str], conf: Path, config: str) -> str:
    """The nearest key to `key` in the deepest existing part of the configuration, or the swept choices without it."""
    group, _, rest = key.partition(".")
    lacking = _choices_without(group, rest, arguments, conf, config) if rest else []
    if lacking:
        return f"{key!r} is not a key of {group}={','.join(lacking)}; sweep the others with it in a separate command"
    node = _compose_without(key, arguments, conf, config)
    where: list[str] = []
    names = key.split(".")
    while len(names) > 1 and isinstance(node, DictConfig) and isinstance(node.get(names[0]), DictConfig):
        node = node[names[0]]
        where.append(names.pop(0))
    known = [".".join([*where, str(name)]) for name in node if name != "_target_"]
    if not where and "experiment" in top_level(conf, config):
        known += ["experiment"]
    return f"unknown key {key!r}{nearest_to('.'.join([*where, names[0]]), known)}"


def _choices_without(group: str, rest: str, arguments: Sequence[str], conf: Path, config: str) -> list[str]:
    """The choices of a swept group that do not have the key `rest`, if others of them do."""
    others = _plain_choices(arguments, group)
    swept = next((a.partition("=")[2] for a in arguments if _key(a) == group), None)
    with _composing(conf):
        try:
            params = compose(config, overrides=others, return_hydra_config=True).hydra.sweeper.params
            named = [choice.strip() for choice in (swept or (params or {}).get(group) or "").split(",")]
            found = [choice for choice in named if re.fullmatch(r"[\w-]+", choice)]
            nodes = [compose(config, overrides=[*others, f"{group}={choice}"])[group] for choice in found]
        except HydraException:
            return []
    missing = object()
    lacking = [
        c for c, node in zip(found, nodes, strict=True) if OmegaConf.select(node, rest, default=missing) is missing
    ]
    return lacking if len(lacking) < len(found) else []


def _compose_without(key: str, arguments: Sequence[str], conf: Path, config: str) -> DictConfig:
    """The configuration of the plain choices on the command line, without sweeps or possibly wrong arguments."""
    plain = _plain_choices(arguments, key)
    with _composing(conf):
        try:
            return compose(config, overrides=plain)
        except HydraException:  # another argument is wrong as well; it is reported once this one is fixed
            return compose(config) if plain else OmegaConf.create({})


def _plain_choices(arguments: Sequence[str], but: str) -> list[str]:
    """Arguments that choose one value, except those of the key `but`, without sweeps."""
    return [a for a in arguments if re.fullmatch(r"[\w/]+=[\w-]+", a) and _key(a) != but]


def _composing(conf: Path) -> contextlib.AbstractContextManager[None]:
    """Hydra's compose for a `with` block, independent of its current state."""
    GlobalHydra.instance().clear()
    return initialize_config_dir(str(conf), version_base="1.3")


def _key(argument: str) -> str:
    return argument.split("=")[0].lstrip("+~").split("@")[0]


def top_level(conf: Path, config: str) -> set[str]:
    """The top-level keys of conf/`config`.yaml: its own, its groups, and those of the files it includes."""
    data = OmegaConf.load(conf / f"{config}.yaml")
    names = {str(key) for key in data if key not in ("defaults", "hydra")}
    for entry in data.get("defaults") or []:
        if isinstance(entry, str):
            names |= top_level(conf, entry) if entry != "_self_" else set()
        else:
            group, _, package = str(next(iter(entry))).removeprefix("override ").partition("@")
            names |= {package or group} if not group.startswith("hydra/") else set()
    return names


def nearest_to(name: str, known: Sequence[str]) -> str:
    """The end of a message about an unknown `name`: the nearest of the known names, and all of them."""
    listed = ", ".join(sorted(known)) or "none"
    nearest = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f", the nearest is {nearest[0]}; there are {listed}" if nearest else f"; there are {listed}"
