"""What must hold before a table may be quoted. One failed gate marks every row of the table.

The baseline's gate is MLPerf's rule for SDXL (inference benchmark: FID within 2%, CLIP score within 0.2% of the
reference run, on both sides): a baseline that is too good is as suspicious as one that is too bad.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import RunError
from eval.records import BASELINE, run_id
from eval.records.canonical import canonical_json, digest, mapping_or_empty

TOLERANCES = {"fid": 0.02, "fid_smoke": 0.02, "clip": 0.002, "clip_smoke": 0.002}
PASSED, FAILED, UNCHECKED = "passed", "failed", "unchecked"


@dataclass(frozen=True)
class Gate:
    """One gate. status: "passed", "failed", or "unchecked" where there is nothing to check it by."""

    name: str
    status: str
    details: str

    @property
    def refusal(self) -> str:
        """What a failed gate means for its table."""
        return f"gate {self.name} failed: {self.details}; no row of this table may be quoted"


def check_gates(records: Sequence[Mapping], references: Sequence[Mapping] = ()) -> tuple[Gate, ...]:
    """Every gate of the table that is made of `records`, failed ones left out; `references` as `read_references`."""
    finished = [record for record in records if record["status"] != "failed"]
    if not finished:
        return (Gate("rows", UNCHECKED, "no row is finished"),)
    baseline = next((record for record in finished if record["method"] == BASELINE), None)
    return (
        _protocol(finished),
        _baseline(baseline, references),
        _identity(baseline),
        _merges(finished),
        _images(finished),
        _weights(finished),
        _compared(finished),
        _attention(finished),
    )


def verdict(gates: Sequence[Gate]) -> str:
    """One cell for all: "passed", or "failed: baseline", or "unchecked: baseline" where none failed."""
    for status in (FAILED, UNCHECKED):
        names = [gate.name for gate in gates if gate.status == status]
        if names:
            return f"{status}: {', '.join(names)}"
    return PASSED


def reference_key(protocol: Mapping) -> str:
    """12 hexadecimal digits of a protocol without the device: images and their scores do not depend on it."""
    kept = {key: value for key, value in protocol.items() if key != "device_name"}
    kept["sampler"] = {key: value for key, value in protocol["sampler"].items() if key != "device"}
    return digest(canonical_json(kept))


def reference_entry(record: Mapping) -> dict:
    """The entry of results/gates.json that makes `record`, a finished baseline, the reference run of its protocol."""
    if record["method"] != BASELINE or record["status"] != "ok":
        raise RunError(f"{run_id(record)} is {record['status']}; a reference run is a finished one of {BASELINE}")
    values = {name: record["metrics"].get(name, {}).get("value") for name in TOLERANCES}
    return {
        "key": reference_key(record["protocol"]),
        "run_id": run_id(record),
        "date": record["provenance"]["date"],
        "commit": record["provenance"]["git"]["sha"],
        "device_name": record["protocol"]["device_name"],
        "n": record["protocol"]["n"],
        "metrics": {
            name: {"value": value, "tolerance": TOLERANCES[name]} for name, value in values.items() if value is not None
        },
    }


def read_references(path: Path) -> list[dict]:
    """The reference runs in `path` (results/gates.json); none where there is no such file. RunError: it is damaged."""
    try:
        entries = json.loads(Path(path).read_text(encoding="utf-8"))["references"]
        for entry in entries:
            numbers = [metric[name] for metric in entry["metrics"].values() for name in ("value", "tolerance")]
            words = [entry[name] for name in ("key", "run_id", "date")]
            if not all(isinstance(word, str) for word in words) or not all(isinstance(x, int | float) for x in numbers):
                raise ValueError("a reference needs a key, a run, a date, and numbers")
    except FileNotFoundError:
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(f"{path} has no readable reference runs ({error}); restore it from the repository") from error
    return entries


def _protocol(records: Sequence[Mapping]) -> Gate:
    hashes = sorted({record["protocol_hash"] for record in records})
    status = PASSED if len(hashes) == 1 else FAILED
    return Gate("protocol", status, f"{len(records)} rows under {len(hashes)} protocol{'s' * (len(hashes) > 1)}")


def _baseline(record: Mapping | None, references: Sequence[Mapping]) -> Gate:
    if record is None:
        return Gate("baseline", UNCHECKED, f"there is no row of {BASELINE}")
    reference = next((entry for entry in references if entry["key"] == reference_key(record["protocol"])), None)
    if reference is None:
        return Gate("baseline", UNCHECKED, "no reference run is recorded for this protocol")
    parts, failed = [], False
    for name, wanted in reference["metrics"].items():
        value = record["metrics"].get(name, {}).get("value")
        room = wanted["tolerance"] * abs(wanted["value"])
        outside = value is None or abs(value - wanted["value"]) > room
        failed |= outside
        shown = "absent" if value is None else f"{value:.6g}"
        side = "not within" if outside else "within"
        parts.append(f"{name} {shown} is {side} {100 * wanted['tolerance']:g}% of {wanted['value']:.6g}")
    where = f"in the reference run ({reference['run_id']}, {reference['date'][:10]})"
    return Gate("baseline", FAILED if failed else PASSED, f"{' and '.join(parts)} {where}")


def _identity(record: Mapping | None) -> Gate:
    metric: Any = None if record is None else record["metrics"].get("ssim")
    if metric is None:
        return Gate("ssim", UNCHECKED, f"SSIM of {BASELINE} to itself was not measured")
    status = PASSED if metric["value"] == 1 else FAILED
    return Gate("ssim", status, f"SSIM of {BASELINE} to itself is {metric['value']!r}")


def _merges(records: Sequence[Mapping]) -> Gate:
    wrong = []
    for record in records:
        merging = any(site.get("merged") is not None and site["merged"] < site["tokens"] for site in record["merges"])
        ratio = record["config"]["method"].get("ratio")
        should = isinstance(ratio, int | float) and ratio > 0
        if (should and not merging) or (merging and record["method"] == BASELINE):
            wrong.append(run_id(record))
    if wrong:
        return Gate("merges", FAILED, f"the merges of {', '.join(wrong)} are not those of their ratio")
    return Gate("merges", PASSED, "every row with a ratio merged tokens, and the baseline did not")


def _images(records: Sequence[Mapping]) -> Gate:
    wrong = [run_id(record) for record in records if record["status"] == "invalid"]
    if wrong:
        return Gate("images", FAILED, f"more than 1% of the images of {', '.join(wrong)} are invalid")
    number = sum(len(record["images"]["invalid"]) for record in records)
    return Gate("images", PASSED, f"{number} of {sum(record['images']['n'] for record in records)} images are invalid")


def _weights(records: Sequence[Mapping]) -> Gate:
    """A folder of weights is named by its path, and its files may change between two rows."""
    known: dict[str, list[str]] = {}
    for record in records:
        weights = mapping_or_empty(mapping_or_empty(record["provenance"].get("run")).get("model")).get("weights")
        if weights:
            known.setdefault(canonical_json(weights), []).append(run_id(record))
    if not known:
        return Gate("weights", UNCHECKED, "no row reports the weights it was generated with")
    rows = [names[0] for names in known.values()]
    if len(known) > 1:
        return Gate("weights", FAILED, f"{' and '.join(rows)} have different weights under one path or revision")
    return Gate("weights", PASSED, "all rows were generated with the same weights")


def _compared(records: Sequence[Mapping]) -> Gate:
    """A paired difference belongs to the images that were on disk when it was computed."""
    now = {run_id(record): record["images"].get("sha256") for record in records}
    old = [
        run_id(record)
        for record in records
        for name, other in mapping_or_empty(record.get("against")).items()
        if now.get(other) and mapping_or_empty(record.get("against_pictures")).get(name) not in (None, now[other])
    ]
    if old:
        named = ", ".join(dict.fromkeys(old))
        return Gate("compared", FAILED, f"{named}: compared with images that were replaced since; run them again")
    return Gate("compared", PASSED, "paired differences belong to the images on disk")


def _attention(records: Sequence[Mapping]) -> Gate:
    """Attention kernels differ more in speed than most merging does, and round differently."""
    known: dict[str, list[str]] = {}
    for record in records:
        for kernels in attention_of(record):
            known.setdefault(kernels, []).append(run_id(record))
    if not known:
        return Gate("attention", UNCHECKED, "no row reports the attention kernels it ran")
    ran = [f"{', '.join(dict.fromkeys(rows))} ran {kernels}" for kernels, rows in sorted(known.items())]
    if len(known) > 1:
        return Gate("attention", FAILED, f"rows ran different attention kernels: {'; '.join(ran)}")
    silent = sum(not attention_of(record) for record in records)
    missing = f", {silent} of {len(records)} do not report theirs" if silent else ""
    return Gate("attention", PASSED, f"attention ran as {next(iter(known))}{missing}")


def attention_of(record: Mapping) -> list[str]:
    """The attention kernels of a record, each set once: of its images, of the parts of its images, of its timing."""
    run = mapping_or_empty(record["provenance"].get("run"))
    shards = run.get("shards")
    parts = [run, *(shards if isinstance(shards, list) else []), mapping_or_empty(record.get("timing"))]
    kernels = [mapping_or_empty(part).get("attention_kernel") for part in parts]
    return list(dict.fromkeys(", ".join(map(str, names)) for names in kernels if isinstance(names, list) and names))
