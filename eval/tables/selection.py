"""Which records may be in one table, and which of them are the paper's rows."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.errors import RunError
from eval.records import run_id
from eval.records.canonical import canonical_json, flat_options
from eval.tables.spec import TableRow, TableSpec

_BEST_FIRST = ("ok", "invalid", "failed")


@dataclass(frozen=True)
class Extra:
    """A record that is no row of the paper, and how it differs from its method's shipped options."""

    record: dict
    differs: Mapping[str, Any]


def choose(records: Sequence[dict], select: Mapping[str, Any] | None) -> list[dict]:
    """The records that match `select`: {"protocol": <start of its hash>} and fields of the protocol.

    A field is a dotted path ("model.name", "sampler.steps"); a field that is a mapping matches by its name ("model").
    RunError: a field that no protocol has (the nearest is named), or nothing matches.
    """
    select = dict(select or {})
    start = str(select.pop("protocol", ""))
    flat = [flat_options(record["protocol"]) for record in records]
    for field in select:
        names = {name for fields in flat for name in fields}
        if records and not any(name in names for name in (field, f"{field}.name")):
            groups = {name.split(".")[0] for name in names}
            near = difflib.get_close_matches(field, sorted({*names, *groups, "protocol"}), n=1)
            raise RunError(
                f"select has {field!r}, which no protocol has{f'; did you mean {near[0]!r}?' if near else '.'}"
            )
    chosen = [
        record
        for record, fields in zip(records, flat, strict=True)
        if all(str(fields.get(field, fields.get(f"{field}.name"))) == str(value) for field, value in select.items())
    ]
    if start:
        complete = [r for r in chosen if r["protocol_hash"].startswith(start)]
        chosen = complete + [
            r for r in chosen if r not in complete and any(_unfinished_of(r, other) for other in complete)
        ]
    if records and not chosen:
        raise RunError(f"select matches none of the {len(records)} records; their protocols are: {_listed(records)}")
    return chosen


def refuse_mixed(records: Sequence[dict], table: str) -> None:
    """RunError if the records are of more than one protocol, listing them and how to choose.

    A failed run may not know its reference yet: it belongs to any protocol that agrees with what it knows.
    """
    groups = _protocols(records)
    if len(groups) < 2:
        return
    flats = [flat_options(group[0]["protocol"]) for group in groups]
    fields = sorted(field for field in set().union(*flats) if len({canonical_json(f.get(field)) for f in flats}) > 1)
    raise RunError(
        f"{table} would mix {len(groups)} protocols, which differ in {', '.join(fields)}: {_listed(records)}; "
        f"choose one, for example with select={{protocol: {groups[0][0]['protocol_hash']}}}."
    )


def _listed(records: Sequence[dict]) -> str:
    return "; ".join(
        f"{group[0]['protocol_hash']} ({len(group)} records, model {_name(group[0]['protocol']['model'])}, "
        f"{group[0]['protocol']['n']} images, {group[0]['protocol']['device_name']})"
        for group in _protocols(records)
    )


def _name(value: Any) -> Any:
    return value.get("name", "?") if isinstance(value, Mapping) else value


def _protocols(records: Sequence[dict]) -> list[list[dict]]:
    """Records grouped by protocol, the largest group first; failed ones join a group that they do not contradict."""
    groups: dict[str, list[dict]] = {}
    for record in sorted(records, key=lambda record: record["status"] == "failed"):
        home = next(
            (name for name, group in groups.items() if _unfinished_of(record, group[0])), record["protocol_hash"]
        )
        groups.setdefault(home, []).append(record)
    return sorted(groups.values(), key=lambda group: (-len(group), group[0]["protocol_hash"]))


def _unfinished_of(record: dict, other: dict) -> bool:
    if record["status"] != "failed" or record["protocol_hash"] == other["protocol_hash"]:
        return False
    mine, theirs = record["protocol"], other["protocol"]
    return all(value is None or canonical_json(value) == canonical_json(theirs.get(key)) for key, value in mine.items())


def assign(spec: TableSpec, records: Sequence[dict]) -> tuple[dict[str, dict], list[Extra]]:
    """The record of each of the paper's rows by method, and the others in the order in which they follow.

    Of several records of the same run (one in two experiments) the finished, then the latest one counts.
    RunError: a row's shipped options are not known and its records differ.
    """
    rows = {row.method: row for row in spec.rows}
    found: dict[str, dict] = {}
    extras: list[Extra] = []
    by_method: dict[str, list[dict]] = {}
    for record in one_per_run(records):
        by_method.setdefault(record["method"], []).append(record)
    for method, group in by_method.items():
        for record, differs in _differences(spec, method, rows.get(method), group):
            if method in rows and not differs:
                found[method] = record
            elif spec.extra_rows == "all" or (spec.extra_rows == "options" and method in rows):
                extras.append(Extra(record, differs))
    order = {method: index for index, method in enumerate(rows)}
    extras.sort(key=lambda extra: _extra_order(extra, order))
    return found, extras


def one_per_run(records: Sequence[dict]) -> list[dict]:
    """Of several records of the same run (one in two experiments) the finished, then the latest one; by run id."""
    latest = sorted(records, key=run_id)
    latest.sort(key=lambda record: str(record["provenance"].get("date", "")), reverse=True)
    latest.sort(key=lambda record: _BEST_FIRST.index(record["status"]))
    kept: dict[tuple[str, str], dict] = {}
    for record in latest:
        kept.setdefault((record["method"], record["pixel_hash"]), record)
    return sorted(kept.values(), key=run_id)


def _differences(spec: TableSpec, method: str, row: TableRow | None, group: list[dict]) -> list[tuple[dict, dict]]:
    """Each record of one method with the options in which it departs from the shipped ones."""
    shipped = spec.methods.get(method) if row is None else row.options
    known = {"method": shipped, "backend": spec.backend}
    changes: list[dict] = [{} for _ in group]
    for part, base in known.items():
        parts = [record["config"][part] for record in group]
        alike = len({canonical_json(options) for options in parts}) == 1
        if base is None and not alike and row is not None:
            raise RunError(
                f"The records of {method} differ in {part}, and {spec.name} does not know the shipped one: "
                f"give it the methods' options and the backend (TableSpec.from_data)."
            )
        shared = _shared(parts) if base is None else base
        for change, options in zip(changes, parts, strict=True):
            change.update(_changes(shared, options, "" if part == "method" else part))
    return list(zip(group, changes, strict=True))


def _shared(parts: Sequence[Any]) -> Any:
    """What replaces the shipped options where none are known: that in which all records agree."""
    if not all(isinstance(part, Mapping) for part in parts):
        return parts[0] if len({canonical_json(part) for part in parts}) == 1 else None
    return {key: _shared([part.get(key) for part in parts]) for key in parts[0]}


def _changes(base: Any, actual: Any, name: str) -> dict[str, Any]:
    """What `actual` has otherwise than `base`, by dotted name; mappings are compared key by key."""
    if isinstance(base, Mapping) and isinstance(actual, Mapping):
        return {
            inner: value
            for key in dict.fromkeys([*base, *actual])
            for inner, value in _changes(base.get(key), actual.get(key), f"{name}.{key}" if name else key).items()
        }
    return {} if canonical_json(base) == canonical_json(actual) else {name: actual}


def _extra_order(extra: Extra, order: Mapping[str, int]) -> tuple:
    values = [
        (name, 0, value, "") if isinstance(value, int | float) else (name, 1, 0, str(value))
        for name, value in extra.differs.items()
    ]
    method = extra.record["method"]
    return (order.get(method, len(order)), method, values, run_id(extra.record))
