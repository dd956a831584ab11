"""Results of `scripts.equal_time` in results/equal_time.json: plain sampling steps that cost as much as a method.

One entry for each method with its options, backend, model and sampler; a new one replaces the old one. A run of
`fewer_steps` reads its share here, by the name of a method as shipped, and writes the number into its own
configuration, so that its images depend on no clock.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.atomic import write_json
from eval.errors import RunError
from eval.records.canonical import canonical_json, plain
from scripts.command_line.choices import choices
from scripts.command_line.entry import CONF
from scripts.jobs.shipped import shipped_options

FILE = "equal_time.json"
TARGET = "baselines.fewer_steps.FewerSteps"


def keep_finding(results: Path, name: str, config: Mapping[str, Any], found: Mapping[str, Any]) -> Path:
    """Save `found` (`share` and measurements) for the method `name` of a run's configuration; returns the path."""
    place = _place(name, config["method"], config)
    others = [finding for finding in _read(results) if not _is_of(finding, place)]
    write_json(results / FILE, [*others, {**place, "found": dict(found)}])
    return results / FILE


def with_measured_share(config: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    """The options of `config["method"]`; for `fewer_steps` with the measured share of the method that it names.

    config: the plain configuration of a run. If there is no measurement for its model and sampler: RunError, or the
    unchanged options if it is not `required`.
    """
    options = dict(config["method"])
    if options.get("_target_") != TARGET or not isinstance(options.get("share"), str):
        return options
    method, findings = options["share"], _read(Path(config["results"]))
    if findings:
        place = _place(method, _shipped(method, config), config)
        for finding in findings:
            if _is_of(finding, place):
                return options | {"share": finding["found"]["share"]}
    if not required:
        return options
    raise RunError(
        f"method.share={method}: the step count that costs as much as {method} (as shipped) was not measured yet on "
        f"{config['model']['name']} with this sampler; run python -m scripts.equal_time method={method} with the same "
        "model and sampler first, or set a number in (0, 1]"
    )


def _place(name: str, options: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """The key of an entry."""
    return plain(
        {
            "method": name,
            "options": options,
            "backend": config["backend"],
            "model": config["model"],
            "sampler": _timed(config["sampler"]),
        }
    )


def _is_of(finding: Mapping[str, Any], place: Mapping[str, Any]) -> bool:
    return all(canonical_json(finding.get(key)) == canonical_json(value) for key, value in place.items())


def _shipped(method: str, config: Mapping[str, Any]) -> dict[str, Any] | None:
    """The options of a method's name as shipped or installed, or None if there is no such method."""
    if method not in choices(CONF, "method"):
        return None
    return shipped_options(method, config["sampler"])


def _timed(sampler: Mapping[str, Any]) -> dict[str, Any]:
    """The sampler options that affect the time of one image; equal time is measured at batch 1."""
    return {name: value for name, value in sampler.items() if name not in ("batch_size", "_target_")}


def _read(results: Path) -> list[dict[str, Any]]:
    path = results / FILE
    if not path.is_file():
        return []
    try:
        findings = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(findings, list) or not all(isinstance(finding, dict) for finding in findings):
            raise ValueError("it is not a list of entries")
        return findings
    except ValueError as error:
        raise RunError(f"{path} is damaged ({error}); delete it and measure again") from error
