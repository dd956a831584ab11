"""The claims of a configuration: those of conf/claims.yaml, and those that an experiment adds."""

from collections.abc import Mapping
from typing import Any

from eval.judging.claim import Claim, check_names
from eval.tables.spec import METRICS, better
from scripts.command_line.choices import choices
from scripts.command_line.entry import CONF
from scripts.jobs.row import build

CONFIG = "claims"  # the file of conf/ that a command which uses them composes
KIND = f"{Claim.__module__}.{Claim.__qualname__}"


def claims_of(config: Mapping[str, Any]) -> tuple[Claim, ...]:
    """The claims of a resolved configuration, in its order. ValueError, RunError: one is none, and why."""
    data, trusted = config.get("claims"), config["trusted"]
    if not isinstance(data, dict) or not all(isinstance(own, dict) for own in data.values()):
        raise ValueError(f"claims must be options by the claim in words, such as in conf/claims.yaml, got {data!r}")
    methods, ways = choices(CONF, "method"), _directions(config)
    for text, own in data.items():
        check_names(text, own, methods, ways)
    return tuple(_claim(text, own, ways.get(own.get("metric")), trusted) for text, own in data.items())


def _directions(config: Mapping[str, Any]) -> dict[str, str | None]:
    """Every metric, and which of its values are better."""
    from eval.metrics.profiles import directions  # imports torch

    further = directions(build("metrics", config["metrics"], config["trusted"]))
    return {name: better(name) for name in METRICS} | further


def _claim(text: str, own: dict[str, Any], way: str | None, trusted: list[str]) -> Claim:
    """One claim; way: the better values of its metric, where it does not say itself."""
    direction = {} if way is None else {"better": way}
    claim = build(f"claims.{text}", {"_target_": KIND, "text": text, **direction, **own}, trusted)
    if not isinstance(claim, Claim):
        raise ValueError(f"claims.{text} must be an {KIND}, got {claim!r}")
    return claim
