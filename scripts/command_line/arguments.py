"""Overrides that are always wrong: deleted keys, added unknown keys, empty choices."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from eval.errors import RunError
from scripts.command_line.choices import choices as known_choices
from scripts.command_line.nearest import nearest_to, top_level

_OVERRIDE = re.compile(
    r"(?P<sign>[+~]{0,2})(?P<key>[A-Za-z_][\w./]*)(?P<package>@[\w.:]*)?(?:=(?P<value>.*))?", re.DOTALL
)

# Values that Hydra reads as null, a flag or a number.
_NO_NAME = re.compile(r"null|true|false|[-+]?[\d.]+", re.IGNORECASE)


def check_arguments(arguments: Sequence[str], conf: Path, config: str) -> None:
    """RunError for the first override of conf/`config`.yaml that Hydra would accept but no command can use.

    Keys can be set but not deleted: a run without a key would use another value than its configuration states. Keys
    added under an unknown name would be ignored.
    """
    known = None
    for argument, sign, key, value in _overrides(arguments):
        known = known or top_level(conf, config)
        head = key.partition(".")[0]
        if head.partition("/")[0] == "hydra":
            continue
        if sign in ("+", "++", "~") and head not in known:
            raise RunError(f"unknown key {key!r}{nearest_to(head, sorted(known))}")
        choices = known_choices(conf, key)
        if sign == "~":
            instead = f"{key}=NAME of {', '.join(choices)}" if choices else f"{key}=VALUE"
            raise RunError(f"{argument} deletes {key}, which a configuration must have; set {instead}")
        if choices and sign == "+":
            raise RunError(f"{argument} adds a second {key}; leave out the +")
        if choices and value is not None and any(map(_NO_NAME.fullmatch, value.split(","))):
            without = "leave it out, or " if key == "experiment" else ""
            raise RunError(f"{argument} names no {key}; {without}set {key}=NAME of {', '.join(choices)}")


def _overrides(arguments: Sequence[str]) -> Iterator[tuple[str, str, str, str | None]]:
    """Each override as (argument, sign, key, value). Hydra handles its own flags and what it cannot parse."""
    for argument in arguments:
        if re.match(r"[+~]*(=|$)", argument):
            raise RunError(f"cannot read the override {argument!r}, which names no key; write name=value")
        match = _OVERRIDE.fullmatch(argument)
        if match and (match["sign"] or match["value"] is not None):
            yield argument, match["sign"], match["key"], match["value"]
