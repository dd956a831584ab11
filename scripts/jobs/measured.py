"""What `scripts.equal_time` found, kept in results/equal_time.json: the steps that cost as much as a method costs.

One finding for each method, model and sampler; a new one takes the old one's place. A run of `fewer_steps` takes its
share from here and writes the number into its own configuration, so that its images depend on no clock.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.atomic import write_json
from eval.errors import RunError

FILE = "equal_time.json"
TARGET = "baselines.fewer_steps.FewerSteps"


def keep_finding(results: Path, model: str, sampler: Mapping[str, Any], method: str, found: Mapping[str, Any]) -> Path:
    """Keep `found` (`share` and what was measured) for this method, model and sampler; the file's path."""
    place = {"method": method, "model": model, "sampler": _timed(sampler)}
    others = [finding for finding in _read(results) if {name: finding.get(name) for name in place} != place]
    write_json(results / FILE, [*others, {**place, "found": dict(found)}])
    return results / FILE


def with_measured_share(config: Mapping[str, Any], *, required: bool = True) -> dict[str, Any]:
    """The options of `config["method"]`, where `fewer_steps` has the share that was found for the method it names.

    config: the plain configuration of a run. Where nothing was found for its model and sampler, RunError, or the
    options as they are if it is not `required`.
    """
    options = dict(config["method"])
    if options.get("_target_") != TARGET or not isinstance(options.get("share"), str):
        return options
    method, model = options["share"], config["model"]["name"]
    place = {"method": method, "model": model, "sampler": _timed(config["sampler"])}
    for finding in _read(Path(config["results"])):
        if {name: finding.get(name) for name in place} == place:
            return options | {"share": finding["found"]["share"]}
    if not required:
        return options
    raise RunError(
        f"method.share={method}: it was not measured yet how many steps cost what {method} costs on {model} with this "
        f"sampler; run python -m scripts.equal_time method={method} with the same model and sampler first, or give a "
        "number in (0, 1]"
    )


def _timed(sampler: Mapping[str, Any]) -> dict[str, Any]:
    """What of a sampler decides the seconds of one image: equal time is measured at batch 1."""
    return {name: value for name, value in sampler.items() if name not in ("batch_size", "_target_")}


def _read(results: Path) -> list[dict[str, Any]]:
    path = results / FILE
    if not path.is_file():
        return []
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise RunError(f"{path} is damaged ({error}); delete it and measure again") from error
