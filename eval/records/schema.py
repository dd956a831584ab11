"""Validation of `record.json`. The fields are described in `results/README.md`."""

import math
import re
from collections.abc import Mapping
from typing import Any

from eval.records.canonical import PROTOCOL_KEYS, pixel_hash, protocol_hash

BASELINE = "none"  # the method that all others are compared with
BOUND = "oracle"  # free merging, which bounds the speed of methods and is none
RECORD_VERSION = 1
STATUSES = ("ok", "failed", "invalid")
INVALID_SHARE = 0.01
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")
_LISTED = (list, type(None))
_FIELDS: dict[str, tuple[type, ...]] = {
    "record_version": (int,),
    "status": (str,),
    "experiment": (str,),
    "method": (str,),
    "pixel_hash": (str,),
    "config": (dict,),
    "provenance": (dict,),
    "protocol": (dict,),
    "protocol_hash": (str,),
    "merges": (list,),
    "metrics": (dict,),
    "timing": (dict, type(None)),
    "images": (dict,),
    "error": (dict, type(None)),
}


def check_name(kind: str, name: str) -> None:
    """ValueError unless `name` can be part of a path: letters, digits, "_", "-", ".", not starting with a dot."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ValueError(
            f"{kind} must be made of letters, digits, '_', '-' and '.', without a leading dot, got {name!r}"
        )


def status_of(n: int, invalid: int) -> str:
    """The status of a completed run: "invalid" above 1% invalid images (`INVALID_SHARE`), else "ok"."""
    return "invalid" if invalid > INVALID_SHARE * n else "ok"


def validate_record(record: Any) -> None:
    """ValueError with one line naming the place if `record` is not a record of version `RECORD_VERSION`."""
    if not isinstance(record, dict):
        raise ValueError(f"record must be a mapping, got {type(record).__name__}")
    for key, types in _FIELDS.items():
        if key not in record:
            raise ValueError(f"record.{key} is absent")
        _is(f"record.{key}", record[key], types)
    if record["record_version"] != RECORD_VERSION:
        raise ValueError(f"record.record_version is {record['record_version']}; this version reads {RECORD_VERSION}")
    _check_identity(record)
    _check_provenance(record["provenance"])
    _check_status(record)
    _check_images(record["images"])
    for name, metric in record["metrics"].items():
        _check_metric(f"record.metrics.{name}", metric)
    for index, site in enumerate(record["merges"]):
        _check_site(f"record.merges[{index}]", site)
    if record["timing"] is not None:
        _check_timing(record["timing"])
    _check_numbers("record", record)


def _check_identity(record: Mapping) -> None:
    check_name("record.experiment", record["experiment"])
    check_name("record.method", record["method"])
    _is("record.config.prompts", record["config"].get("prompts"), (dict,))
    expected = pixel_hash(record["config"])
    if record["pixel_hash"] != expected:
        raise ValueError(f"record.pixel_hash is {record['pixel_hash']!r}, but its config hashes to {expected!r}")
    absent = [key for key in PROTOCOL_KEYS if key not in record["protocol"]]
    if absent:
        raise ValueError(f"record.protocol has no {', '.join(absent)}")
    _is("record.protocol.metrics", record["protocol"]["metrics"], (dict,))
    expected = protocol_hash(record["protocol"])
    if record["protocol_hash"] != expected:
        raise ValueError(
            f"record.protocol_hash is {record['protocol_hash']!r}, but its protocol hashes to {expected!r}"
        )


def _check_provenance(provenance: Mapping) -> None:
    _is("record.provenance.date", provenance.get("date"), (str,))
    _is("record.provenance.git", provenance.get("git"), (dict,))
    _is("record.provenance.git.sha", provenance["git"].get("sha"), (str, type(None)))
    _is("record.provenance.run", provenance.get("run"), (dict, type(None)))
    _is("record.provenance.run.attention_kernel", (provenance.get("run") or {}).get("attention_kernel"), _LISTED)
    shards = (provenance.get("run") or {}).get("shards")
    _is("record.provenance.run.shards", shards, _LISTED)
    for index, shard in enumerate(shards or ()):
        where = f"record.provenance.run.shards[{index}]"
        _is(where, shard, (dict,))
        _is(f"{where}.device_name", shard.get("device_name"), (str,))


def _check_timing(timing: Mapping) -> None:
    _is("record.timing.resumed", timing.get("resumed"), (bool,))
    _is("record.timing.s_per_im", timing.get("s_per_im"), (int, float))
    _is("record.timing.quiet", timing.get("quiet"), (bool, type(None)))
    _is("record.timing.attention_kernel", timing.get("attention_kernel"), _LISTED)
    _is("record.timing.batches", timing.get("batches"), (list,))
    for index, batch in enumerate(timing["batches"]):
        where = f"record.timing.batches[{index}]"
        _is(where, batch, (dict,))
        _is(f"{where}.batch_size", batch.get("batch_size"), (int,))
        _is(f"{where}.seconds", batch.get("seconds"), (list,))
        for call, seconds in enumerate(batch["seconds"]):
            _is(f"{where}.seconds[{call}]", seconds, (int, float))


def _check_status(record: Mapping) -> None:
    status, error = record["status"], record["error"]
    if status not in STATUSES:
        raise ValueError(f"record.status must be one of {', '.join(STATUSES)}, got {status!r}")
    if (status == "failed") != (error is not None):
        raise ValueError(f"record.error must be given for a failed run and null for any other; status is {status!r}")
    if error is not None:
        for key in ("sentence", "traceback"):
            _is(f"record.error.{key}", error.get(key), (str,))
        return
    n, invalid = record["images"].get("n"), record["images"].get("invalid")
    if isinstance(n, int) and isinstance(invalid, list) and status != status_of(n, len(invalid)):
        raise ValueError(f"record.status is {status!r}, but {len(invalid)} of {n} images are invalid (limit 1%)")


def _check_images(images: Mapping) -> None:
    _is("record.images.n", images.get("n"), (int,))
    _is("record.images.invalid", images.get("invalid"), (list,))
    _is("record.images.foreign", images.get("foreign"), (list,))
    _is("record.images.sha256", images.get("sha256"), (str, type(None)))
    for index, entry in enumerate(images["invalid"]):
        where = f"record.images.invalid[{index}]"
        _is(where, entry, (dict,))
        for key in ("key", "why"):
            _is(f"{where}.{key}", entry.get(key), (str,))


def _check_site(where: str, site: Any) -> None:
    _is(where, site, (dict,))
    for key in ("tokens", "merged", "plans_computed", "plans_reused"):
        _is(f"{where}.{key}", site.get(key), (int, type(None)))
    if site.get("merged") is not None:
        _is(f"{where}.tokens", site.get("tokens"), (int,))


def _check_metric(where: str, metric: Any) -> None:
    _is(where, metric, (dict,))
    for key in ("value", "n", "n_reference", "interval", "protocol", "differences"):
        if key not in metric:
            raise ValueError(f"{where}.{key} is absent")
    _is(f"{where}.n", metric["n"], (int, type(None)))
    _is(f"{where}.n_reference", metric["n_reference"], (int, type(None)))
    _is(f"{where}.protocol", metric["protocol"], (str,))
    _is(f"{where}.differences", metric["differences"], (dict,))
    _check_estimate(where, metric)
    if metric.get("better") not in (None, "lower", "higher"):
        raise ValueError(f"{where}.better must be lower, higher or absent, got {metric['better']!r}")
    if "infinite" in metric:
        _is(f"{where}.half", metric.get("half"), (dict,))
        if "value" not in metric["half"]:
            raise ValueError(f"{where}.half.value is absent")
        _is(f"{where}.half.value", metric["half"]["value"], (int, float, type(None)))
    if metric["value"] is None:
        _is(f"{where}.reason", metric.get("reason"), (str,))
    for name, difference in metric["differences"].items():
        _is(f"{where}.differences.{name}", difference, (dict,))
        _check_estimate(f"{where}.differences.{name}", difference)


def _check_estimate(where: str, estimate: Mapping) -> None:
    for key in ("value", "infinite"):
        _is(f"{where}.{key}", estimate.get(key), (int, float, type(None)))
    interval = estimate.get("interval")
    if interval is None:
        return
    numbers = isinstance(interval, list) and [x for x in interval if _is_number(x)]
    if not numbers or len(numbers) != 2 or len(interval) != 2 or interval[0] > interval[1]:
        raise ValueError(f"{where}.interval must be [low, high] or null, got {interval!r}")


def _check_numbers(where: str, value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{where} is {value!r}; a number that is not available must be null")
    if isinstance(value, dict):
        for key, item in value.items():
            _check_numbers(f"{where}.{key}", item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _check_numbers(f"{where}[{index}]", item)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is(where: str, value: Any, types: tuple[type, ...]) -> None:
    # bool is an int in Python, but not in a record.
    if isinstance(value, types) and not (isinstance(value, bool) and bool not in types):
        return
    names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in types)
    raise ValueError(f"{where} must be {names}, got {value!r:.80}")
