"""The provenance of each run's numbers, as lists of name and value."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import escape

from eval.records.gates import attention_of
from eval.report.gather import Entry, Gathered
from eval.report.limits import RECORDS
from eval.report.studies import recording, staleness
from eval.report.studies.found import Studies


@dataclass(frozen=True)
class Origin:
    """One run: `facts` in short, `parts` of its record as indented JSON, `invalid` images (key, why).

    left_out: the file below the folder of runs that has the parts, where the page does not.
    """

    run: str
    label: str
    status: str
    error: str | None
    facts: tuple[tuple[str, str], ...]
    metrics: tuple[tuple[str, str], ...]
    invalid: tuple[tuple[str, str], ...]
    parts: tuple[tuple[str, str], ...]
    left_out: str | None = None


def origins(gathered: Gathered, budget: int = RECORDS) -> list[Origin]:
    """One for each row that has a record, in the order of the rows; those that are in the curves alone come last.

    The first have their whole records, as many as `budget` characters of the page hold.
    """
    entries = dict.fromkeys([*gathered.entries, *gathered.swept])
    found = []
    for origin in (_origin(entry) for entry in entries if entry.line.record is not None):
        budget -= sum(len(escape(text)) for _, text in origin.parts)
        found.append(origin if budget >= 0 else _without_parts(origin))
    return found


def _without_parts(origin: Origin) -> Origin:
    return dataclasses.replace(origin, parts=(), left_out=f"{origin.run}/record.json")


def study_origins(studies: Studies) -> list[Origin]:
    """One for each measurement beside the runs that the page shows."""
    found = [
        (recording.PREFIX, study, f"Figure 3, {study.method}: {study.prompt}, seed {study.seed}")
        for study in studies.recordings
    ]
    found += [(staleness.PREFIX, study, "staleness of a kept choice") for study in studies.measured]
    return [_study(f"{prefix}{study.name}", label, study.config, study.provenance) for prefix, study, label in found]


def _study(name: str, label: str, config: Mapping, provenance: Mapping) -> Origin:
    parts = (("config", _json(config)), ("provenance", _json(provenance)))
    return Origin(name, label, "ok", None, tuple(_made(provenance)), (), (), parts)


def _made(provenance: Mapping) -> list[tuple[str, str]]:
    git = provenance.get("git") or {}
    commit = str(git.get("sha") or f"unknown ({git.get('reason')})")
    dirty = " with uncommitted changes" if git.get("dirty") else ""
    return [("date", str(provenance["date"])), ("commit", commit + dirty)]


def _origin(entry: Entry) -> Origin:
    record = entry.line.record
    error = record["error"]
    return Origin(
        run=entry.run,
        label=entry.label,
        status=record["status"],
        error=None if error is None else error["sentence"],
        facts=tuple(_facts(record)),
        metrics=tuple((name, _metric(metric)) for name, metric in record["metrics"].items()),
        invalid=tuple((found["key"], found["why"]) for found in record["images"]["invalid"]),
        parts=tuple((key, _json(record[key])) for key in ("config", "provenance", "protocol", "timing", "merges")),
    )


def _facts(record: Mapping) -> list[tuple[str, str]]:
    provenance, protocol, timing = record["provenance"], record["protocol"], record["timing"]
    merging = sum(site.get("merged", 0) < site.get("tokens", 0) for site in record["merges"])
    facts = [
        *_made(provenance),
        ("device", f"{protocol['device_name']}, {protocol['dtype']}, attention {protocol['attention']}"),
        ("attention", _attention(record)),
        (
            "protocol",
            f"{record['protocol_hash']}; {protocol['n']} images, {protocol['n_reference']} reference images",
        ),
        ("reference", str(protocol["reference_hash"])),
        ("prompts", str(protocol["prompts_hash"])),
        ("merged", f"at {merging} of {len(record['merges'])} sites"),
        ("images", f"{record['images']['n']}, {len(record['images']['invalid'])} of them invalid"),
    ]
    if "batch_size" in protocol["sampler"]:
        facts.append(("batch", f"{protocol['sampler']['batch_size']}; {protocol['dtype']} images depend on it"))
    if record["images"]["foreign"]:
        facts.append(("foreign files", ", ".join(map(str, record["images"]["foreign"]))))
    if timing is not None:
        count = sum(len(batch["seconds"]) for batch in timing["batches"])
        facts.append(("timed calls", f"{count}{', in a resumed run' if timing['resumed'] else ''}"))
    return facts


def _attention(record: Mapping) -> str:
    dispatch = (record["provenance"].get("run") or {}).get("attention_dispatch")
    kernels = "; ".join(attention_of(record)) or "kernels not recorded"
    return kernels + (f"; dispatched by diffusers to {dispatch}" if dispatch else "")


def _metric(metric: Mapping) -> str:
    value = f"none: {metric.get('reason')}" if metric["value"] is None else repr(metric["value"])
    interval = (
        "" if metric["interval"] is None else f", 95% interval {metric['interval'][0]!r} to {metric['interval'][1]!r}"
    )
    n = "" if metric["n"] is None else f", n = {metric['n']}"
    return f"{value}{interval}{n}; {metric['protocol']}"


def _json(value: Any) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False)
