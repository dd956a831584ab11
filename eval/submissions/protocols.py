"""The protocols that this project publishes: submissions/protocols.json.

A published protocol is a record's protocol without its environment (device, dtype, attention, compilation, batch size),
which the folder of a submission names. Everything else must be equal.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import RunError
from eval.records.canonical import canonical_json, digest, flat_options

FILE = "protocols.json"
COSTS = ("seconds", "tokens")
_OF_ENVIRONMENT = ("device", "dtype", "attention", "compile", "batch_size")
_FIXED = ("model", "sampler", "prompts_hash", "reference_hash", "metrics", "n", "n_reference")


@dataclass(frozen=True)
class Published:
    """One published protocol.

    experiment: the choice of conf/experiment that runs it. fixed: what a record's protocol must have, as `fixed_part`.
    open: keys of it, as "metrics.networks.clip", that no run has fixed yet; they are null there. cost and quality: the
    axes of its Pareto fronts, cost "seconds" or "tokens". timed_images: the fewest that a record must have timed at
    batch 1.
    """

    name: str
    title: str
    experiment: str
    quality: str
    cost: str
    timed_images: int
    hash: str
    open: list[str]
    fixed: dict[str, Any]

    def __post_init__(self) -> None:
        if self.cost not in COSTS:
            raise ValueError(f"cost must be one of {', '.join(COSTS)}, got {self.cost!r}")
        if self.hash != protocol_key(self.fixed):
            raise ValueError(
                f"protocol {self.name}: hash is {self.hash}, but what it fixes has {protocol_key(self.fixed)}"
            )


def fixed_part(protocol: Mapping[str, Any]) -> dict[str, Any]:
    """What two records of one published protocol share, whatever they ran on."""
    kept = {key: protocol[key] for key in _FIXED}
    sampler = {key: value for key, value in protocol["sampler"].items() if key not in _OF_ENVIRONMENT}
    return kept | {"sampler": sampler}


def protocol_key(fixed: Mapping[str, Any]) -> str:
    """12 hexadecimal digits of the SHA-256 of a fixed part."""
    return digest(canonical_json(fixed, "protocol"))


def read_published(folder: Path) -> list[Published]:
    """The protocols in `folder` (submissions). RunError: the file is missing or damaged."""
    path = Path(folder) / FILE
    try:
        return [Published(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))["protocols"]]
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise RunError(f"{path} lists no protocols ({error}); restore it from the repository") from error


def published_for(record: Mapping, published: Sequence[Published]) -> Published:
    """The published protocol of `record`. RunError: it has none; the nearest, and what differs from it."""
    fixed = flat_options(fixed_part(record["protocol"]))
    differing = [
        ([key for key in _differences(flat_options(entry.fixed), fixed) if key not in entry.open], entry)
        for entry in published
    ]
    for keys, entry in differing:
        if not keys:
            return entry
    if not differing:
        raise RunError("no protocol is published; there is nothing to submit to")
    keys, nearest = min(differing, key=lambda pair: len(pair[0]))
    raise RunError(
        f"the protocol is none of those published; the nearest, {nearest.name}, differs in "
        f"{_said(flat_options(nearest.fixed), fixed, keys[0])}{f' and {len(keys) - 1} more' if keys[1:] else ''}: "
        f"run experiment={nearest.experiment} without other choices"
    )


def _differences(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> list[str]:
    return [
        key
        for key in dict.fromkeys([*wanted, *there])
        if canonical_json(wanted.get(key)) != canonical_json(there.get(key))
    ]


def _said(wanted: Mapping[str, Any], there: Mapping[str, Any], key: str) -> str:
    return f"{key} ({canonical_json(there.get(key))[:60]}, not {canonical_json(wanted.get(key))[:60]})"
