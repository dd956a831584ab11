"""Every run of a folder as a tidy CSV: one line for each run and metric, the options that differ as columns."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from eval import atomic
from eval.records import run_id
from eval.records.canonical import EXACT, canonical_json, depends_on_batch, flat_options
from eval.tables import seconds_interval

if TYPE_CHECKING:
    import pandas

UNFINISHED = "unfinished"
HEAD = ("run_id", "method", "status")
TAIL = ("metric", "value", "low", "high", "minus_none", "minus_none_low", "minus_none_high", "n", "quiet", "protocol")
OPTIONS = ("model", "sampler", "method", "backend", "prompts")


def tidy(records: Sequence[Mapping], unfinished: Mapping[str, Mapping] | None = None) -> "pandas.DataFrame":
    """One line for each record and metric, in the order of run ids and of the record's metrics, time last.

    Between `run_id`, `method`, `status` and the numbers are the options in which the runs differ, by dotted name
    (`method.ratio`); lists and mappings are JSON. A failed record, and a run of `unfinished` (by run id: its config, or
    {} where that is not known), has one line without a metric. `quiet`: of times, whether the device was idle.
    """
    runs = {run_id(record): (record["status"], record["config"]) for record in records}
    runs = {name: (UNFINISHED, config) for name, config in (unfinished or {}).items()} | runs
    flat = {name: _options(config) for name, (_, config) in runs.items()}
    differing = _differing({name: options for name, options in flat.items() if options})
    numbers = {run_id(record): _numbers(record) for record in records}
    lines = [
        {"run_id": name, "method": _method(name), "status": runs[name][0]}
        | {option: flat[name].get(option) for option in differing}
        | line
        for name in sorted(runs)
        for line in numbers.get(name) or [{}]
    ]
    import pandas

    return pandas.DataFrame(lines, columns=[*HEAD, *differing, *TAIL], dtype=object)


def unfinished_runs(runs: Path, experiment: str, records: Sequence[Mapping]) -> dict[str, dict]:
    """The config by run id of every run folder of `experiment` that none of `records` is of; {} for one unread."""
    known = {run_id(record) for record in records}
    found = {}
    for path in sorted((Path(runs) / experiment).glob("*/config.yaml")):
        name = f"{experiment}/{path.parent.name}"
        if name not in known:
            found[name] = _config(path)
    return found


def write_tidy(frame: "pandas.DataFrame", path: Path) -> Path:
    """Write `frame` at full precision, atomically; the same records give the same bytes."""
    atomic.write_text(path, frame.to_csv(index=False, lineterminator="\n"))
    return path


def _config(path: Path) -> dict:
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, yaml.YAMLError):  # being written, or damaged: the run itself says so when it goes on
        return {}
    return config if isinstance(config, dict) else {}


def _method(name: str) -> str:
    return name.rpartition("/")[2].rpartition("-")[0]


def _options(config: Mapping) -> dict[str, Any]:
    """What changes pixels, flat: {"method.window.down": 2, "sampler.steps": 50}."""
    flat = flat_options({group: config.get(group) for group in OPTIONS})
    if not depends_on_batch(flat.get("sampler.dtype", EXACT)):
        flat.pop("sampler.batch_size", None)
    return {name: _cell(value) for name, value in flat.items() if not name.endswith("._target_")}


def _cell(value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | Mapping) else value


def _differing(runs: Mapping[str, Mapping]) -> list[str]:
    """The options in which runs of one method differ, or runs of several methods that all have them."""
    groups: dict[str, list[Mapping]] = {}
    for name, options in runs.items():
        groups.setdefault(_method(name), []).append(options)
    names = dict.fromkeys(name for options in runs.values() for name in options)
    return [name for name in names if any(_differ(name, group) for group in (*groups.values(), _having(name, runs)))]


def _having(name: str, runs: Mapping[str, Mapping]) -> list[Mapping]:
    return [options for options in runs.values() if name in options]


def _differ(name: str, options: Sequence[Mapping]) -> bool:
    return len({canonical_json(one.get(name)) for one in options}) > 1


def _numbers(record: Mapping) -> list[dict[str, Any]]:
    lines = [_metric(record, name, metric) for name, metric in record["metrics"].items()]
    timing = record["timing"]
    if timing is not None:
        low, high = seconds_interval(timing)
        shared = {"quiet": timing.get("quiet"), "protocol": record["protocol_hash"]}
        lines.append({"metric": "s_per_im", "value": timing["s_per_im"], "low": low, "high": high} | shared)
        if timing.get("images_per_s") is not None:
            lines.append({"metric": "images_per_s", "value": timing["images_per_s"]} | shared)
    return lines


def _metric(record: Mapping, name: str, metric: Mapping) -> dict[str, Any]:
    difference = metric["differences"].get("none", {})
    return {
        "metric": name,
        **_estimate("", metric),
        **_estimate("minus_none", difference),
        "n": metric["n"],
        "protocol": record["protocol_hash"],
    }


def _estimate(name: str, estimate: Mapping) -> dict[str, Any]:
    low, high = estimate.get("interval") or (None, None)
    prefix = f"{name}_" if name else ""
    return {name or "value": estimate.get("value"), f"{prefix}low": low, f"{prefix}high": high}
