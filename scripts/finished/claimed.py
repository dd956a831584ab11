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
    methods, metrics = choices(CONF, "method"), (*METRICS, *(config["metrics"].get("extra") or {}))
    for text, own in data.items():
        check_names(text, own, methods, metrics)
    return tuple(_claim(text, own, trusted) for text, own in data.items())


def _claim(text: str, own: dict[str, Any], trusted: list[str]) -> Claim:
    """One claim; `better` is that of its metric where it is not given."""
    known = better(str(own.get("metric")))
    direction = {} if known is None else {"better": known}
    claim = build(f"claims.{text}", {"_target_": KIND, "text": text, **direction, **own}, trusted)
    if not isinstance(claim, Claim):
        raise ValueError(f"claims.{text} must be an {KIND}, got {claim!r}")
    return claim
