"""The contents of a report: the tables that could be built, an overview of all their rows, and what is absent."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.errors import RunError
from eval.records import run_id
from eval.records.gates import FAILED
from eval.tables import Line, Table, build_table
from eval.tables.grid import row_names
from eval.tables.spec import SECONDS, TableRow, TableSpec

QUALITY = ("fid", "clip", "ssim")


@dataclass(frozen=True, eq=False)
class Entry:
    """One row of the overview: the method's `key`, its `label` (its name everywhere), both unique, and its numbers."""

    key: str
    label: str
    line: Line

    @property
    def run(self) -> str | None:
        """The run's name below results/runs; None for a row without a record."""
        return None if self.line.record is None else run_id(self.line.record)


@dataclass(frozen=True)
class Gathered:
    """`overview`: every row of every table once, with quality and seconds; None where no table could be built.

    problems: what could not be read or built, and why.
    swept: the overview's rows and, after them, those of other experiments under the same protocol, for the curves.
    notes: which of these were left out.
    """

    runs: Path
    tables: tuple[Table, ...]
    overview: Table | None
    entries: tuple[Entry, ...]
    problems: tuple[str, ...]
    swept: tuple[Entry, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def profile(self) -> str:
        """ "real", "smoke" or "none", as in tables."""
        return "real" if self.overview is None else self.overview.profile

    @property
    def incomplete(self) -> list[Entry]:
        """The rows that are failed, missing or invalid."""
        return [entry for entry in self.entries if entry.line.status != "ok"]

    @property
    def without_value(self) -> list[tuple[str, str, list[str]]]:
        """(metric, reason, names of the rows) where a metric of the overview has no value."""
        found: dict[tuple[str, str], list[str]] = {}
        for entry in self.entries:
            metrics = {} if entry.line.record is None else entry.line.record["metrics"]
            for name in () if self.overview is None else self.overview.metrics:
                if metrics.get(name, {}).get("reason"):
                    found.setdefault((name, metrics[name]["reason"]), []).append(entry.label)
        return [(name, reason, names) for (name, reason), names in found.items()]


def gather(
    specs: Sequence[TableSpec],
    load: Callable[[], list[dict]],
    runs: Path,
    *,
    options: Mapping[str, Any] | None = None,
    everywhere: Callable[[], list[dict]] | None = None,
) -> Gathered:
    """Build what can be built. `load` gives the records; what it or a table refuses (RunError) becomes a problem.

    options: those of `build_table` (select, seeds, references). A failed gate of a table becomes a problem too.
    everywhere: gives the records of all experiments, of which those under the tables' protocol join the curves.
    """
    problems: list[str] = []
    records, options = _or_problem(load, problems) or [], options or {}
    tables = [_or_problem(lambda spec=spec: build_table(spec, records, **options), problems) for spec in specs]
    built = tuple(table for table in tables if table is not None)
    problems += [
        f"{table.spec.name}: {gate.refusal}" for table in built for gate in table.gates if gate.status == FAILED
    ]
    overview = None
    if built:
        spec = _overview_spec([table.spec for table in built])
        overview = _or_problem(lambda: build_table(spec, records, **options), problems)
    entries = () if overview is None else _entries(overview)
    swept, notes = entries, ()
    if overview is not None and everywhere is not None:
        found = _or_problem(everywhere, problems) or []
        swept, notes = _or_problem(lambda: _swept(overview, entries, found), problems) or (entries, ())
    return Gathered(Path(runs), built, overview, entries, tuple(dict.fromkeys(problems)), swept, notes)


def _swept(overview: Table, entries: tuple[Entry, ...], records: Sequence[dict]) -> tuple[tuple[Entry, ...], tuple]:
    """The overview's rows and those of other experiments that may be compared with them; notes on the others."""
    own = {entry.line.record["protocol_hash"] for entry in entries if entry.line.record and not _failed(entry)}
    runs = {entry.run for entry in entries}
    others = [record for record in records if run_id(record) not in runs and record["status"] != "failed"]
    fitting = [record for record in others if record["protocol_hash"] in own]
    notes = ()
    if len(fitting) < len(others):
        homes = sorted({record["experiment"] for record in others if record["protocol_hash"] not in own})
        notes = (
            f"Finished runs under another protocol are left out of the curves (in {', '.join(homes)}). "
            "The report of their own experiment shows them.",
        )
    if not fitting:
        return entries, notes
    mine = [entry.line.record for entry in entries if entry.line.record is not None]
    table = build_table(dataclasses.replace(overview.spec, extra_rows="all"), [*mine, *fitting])
    known = {entry.run: entry for entry in entries}
    return (*entries, *(entry for entry in _entries(table) if entry.run not in known)), notes


def _failed(entry: Entry) -> bool:
    return entry.line.status == "failed"


def _or_problem(make: Callable[[], Any], problems: list[str]) -> Any:
    try:
        return make()
    except RunError as error:
        problems.append(str(error))
        return None


def _overview_spec(specs: Sequence[TableSpec]) -> TableSpec:
    """All rows of `specs`, each method once, with every quality and the seconds."""
    rows: dict[str, TableRow] = {}
    for row in (row for spec in specs for row in spec.rows):
        rows.setdefault(row.method, row)
    labels = dict.fromkeys(label for spec in specs for label in spec.labels)
    return dataclasses.replace(
        specs[0],
        name="overview",
        labels=tuple(labels),
        metrics=(*QUALITY, SECONDS),
        rows=tuple(rows.values()),
        extra_rows="all" if any(spec.extra_rows == "all" for spec in specs) else specs[0].extra_rows,
    )


def _entries(table: Table) -> tuple[Entry, ...]:
    rows = table.spec.rows
    more = table.lines[len(rows) :]
    keys = [row.method for row in rows] + [line.record["method"] for line in more]
    return tuple(map(Entry, _distinct(keys), _distinct(row_names(table)), table.lines))


def _distinct(names: Sequence[str]) -> list[str]:
    """The names; one that was there before gets its place behind it."""
    return [
        name if names.index(name) == index else f"{name} ({names[: index + 1].count(name)})"
        for index, name in enumerate(names)
    ]
