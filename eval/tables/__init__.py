"""Tables I and II from records: rebuilt every time, never appended to, no row left out."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval import atomic
from eval.errors import RunError
from eval.metrics.stats import median_interval
from eval.records import BASELINE, run_id
from eval.records.gates import Gate, check_gates, verdict
from eval.tables.costs import COSTS
from eval.tables.footnotes import below_zero
from eval.tables.markdown import render
from eval.tables.seeds import by_row, spread
from eval.tables.selection import Extra, assign, choose, refuse_mixed
from eval.tables.spec import BESIDE, METRICS, SECONDS, UNPAIRED, TableSpec, metric_name

QUIET = f"{SECONDS}_quiet"
_TAIL = ("n", "n_reference", "protocol", "run_id", "status", "gates")


@dataclass(frozen=True)
class Line:
    """One row: its cells by column (None where there is no value), and the record behind it (None if missing)."""

    cells: Mapping[str, Any]
    record: Mapping | None

    @property
    def status(self) -> str:
        """ "ok", "invalid", "failed" or "missing"."""
        return self.cells["status"]


@dataclass(frozen=True)
class Table:
    """A built table. `profile` is that of its records: "smoke" tables belong under results/smoke/.

    seeds: of several, those that the rows' spread is over; gates: what must hold before the table may be quoted.
    baseline: the record of the baseline, which need not be a row; None if there is none.
    """

    spec: TableSpec
    profile: str
    columns: tuple[str, ...]
    lines: tuple[Line, ...]
    seeds: tuple[int, ...] = ()
    gates: tuple[Gate, ...] = ()
    baseline: Mapping | None = None

    @property
    def metrics(self) -> tuple[str, ...]:
        """The metrics' columns in order, as the profile names them."""
        return tuple(metric_name(metric, self.profile) for metric in self.spec.measured)

    @property
    def beside(self) -> tuple[str, ...]:
        """Metrics reported together with these, such as KID with FID, as the profile names them."""
        return tuple(metric_name(name, self.profile) for metric in self.spec.metrics for name in BESIDE.get(metric, ()))

    def line(self, method: str) -> Line | None:
        """The paper's row of `method`, or None if the table has none."""
        places = [index for index, row in enumerate(self.spec.rows) if row.method == method]
        return self.lines[places[0]] if places else None

    def with_status(self, *statuses: str) -> list[Line]:
        """The lines of these statuses, in order, such as with_status("failed", "missing")."""
        return [line for line in self.lines if line.status in statuses]


def build_table(
    spec: TableSpec,
    records: Sequence[dict],
    *,
    select: Mapping[str, Any] | None = None,
    seeds: Sequence[int] = (),
    references: Sequence[Mapping] = (),
) -> Table:
    """The paper's rows in its order, each with its record's numbers, then the other records.

    `select` chooses among protocols, e.g. {"model": "tiny"} or {"protocol": "3fa2"}. Of several `seeds` (of the
    prompts) the first gives the numbers, and the spread over all is added. `references`: those of eval.records.gates.
    RunError: the records are of several protocols (they are listed), `select` matches none, or nothing measures one of
    the metrics.
    """
    records, groups = by_row(records, seeds) if seeds else (records, {})
    records = choose(records, select)
    refuse_mixed(records, spec.name)
    profile = records[0]["protocol"]["metrics"].get("profile", spec.profile) if records else spec.profile
    found, extras = assign(spec, records)
    used = [*found.values(), *(extra.record for extra in extras)]
    gates = check_gates(_with_baseline(used, records), references)
    _check_metrics(spec, profile, records)
    spec = spec.with_more(used)
    columns = _columns(spec, profile, seeds)
    rows = [(row.labels, row.paper, found.get(row.method)) for row in spec.rows]
    rows += [({"model": _label(spec, extra)}, {}, extra.record) for extra in extras]
    baseline = next((record for record in _with_baseline(used, records) if _is_finished_baseline(record)), None)
    lines = []
    for labels, paper, record in rows:
        line = _line(spec, profile, columns, labels, paper, record, baseline)
        group = [] if record is None else groups.get(run_id(record), [])
        more = _seed_cells(spec, profile, group) if seeds else {}
        lines.append(Line({**line.cells, **more, "gates": verdict(gates)}, record))
    return Table(spec, profile, columns, tuple(lines), tuple(seeds), gates, baseline)


def _check_metrics(spec: TableSpec, profile: str, records: Sequence[dict]) -> None:
    measured = {name for record in records for name in record["metrics"]}
    for metric in spec.metrics:
        if metric not in METRICS and metric_name(metric, profile) not in measured:
            near = difflib.get_close_matches(metric, METRICS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(METRICS)}"
            raise RunError(f"metrics of {spec.name} has {metric!r}, which nothing measures{hint}")


def _with_baseline(used: Sequence[dict], records: Sequence[dict]) -> list[dict]:
    """The records of the rows, and the baseline's where the table has no row of it (as Table II)."""
    if any(record["method"] == BASELINE for record in used):
        return list(used)
    return [*used, *(record for record in records if record["method"] == BASELINE)]


def _is_finished_baseline(record: Mapping) -> bool:
    return record["method"] == BASELINE and record["status"] != "failed"


def write_table(table: Table, folder: Path) -> tuple[Path, Path]:
    """Write `<name>.csv` (full precision) and `<name>.md` (rounded) into `folder`, each atomically; their paths."""
    csv, markdown = Path(folder) / f"{table.spec.name}.csv", Path(folder) / f"{table.spec.name}.md"
    atomic.clear(folder)
    atomic.write_text(csv, csv_text(table))
    atomic.write_text(markdown, render(table))
    return csv, markdown


def csv_text(table: Table) -> str:
    """The CSV file's text, at full precision."""
    import pandas

    frame = pandas.DataFrame([line.cells for line in table.lines], columns=list(table.columns), dtype=object)
    return frame.to_csv(index=False, lineterminator="\n")


def _columns(spec: TableSpec, profile: str, seeds: Sequence[int]) -> tuple[str, ...]:
    names = [metric_name(metric, profile) for metric in spec.measured]
    intervals = [f"{name}_{end}" for name in names for end in ("low", "high")]
    paired = [f"{name}_minus_{BASELINE}" for name in names if name not in UNPAIRED]
    intervals += [QUIET] if SECONDS in names else []
    differences = [f"{name}{end}" for name in paired for end in ("", "_low", "_high")]
    paper = [f"paper_{metric}" for metric in spec.metrics]
    beside = [column for metric in spec.metrics for column in _beside_columns(metric, profile)]
    costs = [name for name, cost in COSTS.items() if SECONDS in names or not cost.timed]
    scattered = [f"{name}_seed_{what}" for name in [*names, *paired] for what in ("mean", "sd")]
    over_seeds = ["seeds", *scattered] if seeds else []
    return (*spec.labels, *names, *paper, *intervals, *differences, *beside, *over_seeds, *costs, *_TAIL)


def _beside_columns(metric: str, profile: str) -> list[str]:
    """Of FID: what says how much of it is bias, and KID, which has none."""
    if metric not in BESIDE:
        return []
    name = metric_name(metric, profile)
    columns = [f"{name}_half", f"{name}_infinite", f"{name}_infinite_minus_{BASELINE}"]
    for other in (metric_name(other, profile) for other in BESIDE[metric]):
        columns += [f"{other}{what}{end}" for what in ("", f"_minus_{BASELINE}") for end in ("", "_low", "_high")]
    return columns


def _seed_cells(spec: TableSpec, profile: str, group: Sequence[Mapping]) -> dict[str, Any]:
    """How many of the seeds have a record, and the spread of every number over them."""
    cells: dict[str, Any] = {"seeds": len(group)}
    for name in (metric_name(metric, profile) for metric in spec.measured):
        numbers = [_numbers(record, name) for record in group]
        for column in (name,) if name in UNPAIRED else (name, f"{name}_minus_{BASELINE}"):
            mean, sd = spread([cells.get(column) for cells in numbers])
            cells |= {f"{column}_seed_mean": mean, f"{column}_seed_sd": sd}
    return cells


def _line(
    spec: TableSpec,
    profile: str,
    columns: Sequence[str],
    labels: Mapping[str, str],
    paper: Mapping[str, float],
    record: dict | None,
    baseline: dict | None,
) -> Line:
    cells: dict[str, Any] = dict.fromkeys(columns)
    cells |= {label: labels.get(label) or None for label in spec.labels}
    cells |= {f"paper_{metric}": paper.get(metric) for metric in spec.metrics}
    cells["status"] = "missing" if record is None else record["status"]
    if record is not None:
        cells["run_id"] = run_id(record)
    if record is not None and record["status"] != "failed":
        for metric in spec.measured:
            for name in (metric, *BESIDE.get(metric, ())):
                cells |= _numbers(record, metric_name(name, profile), baseline)
        cells |= {name: cost.value(record, baseline) for name, cost in COSTS.items() if name in columns}
        cells |= {key: record["protocol"][key] for key in ("n", "n_reference")}
        # The hash of a failed run may lack the reference, which it had not read yet.
        cells["protocol"] = record["protocol_hash"]
    return Line(cells, record)


def _numbers(record: Mapping, name: str, baseline: Mapping | None = None) -> dict[str, Any]:
    if name == SECONDS:
        low, high = seconds_interval(record["timing"])
        if record["timing"] is None:
            return {}
        return {
            name: record["timing"][SECONDS],
            f"{name}_low": low,
            f"{name}_high": high,
            QUIET: record["timing"].get("quiet"),
        }
    metric = record["metrics"].get(name)
    if metric is None:
        return {}
    cells = _estimate(name, metric)
    if name not in UNPAIRED:
        cells |= _estimate(f"{name}_minus_{BASELINE}", metric["differences"].get(BASELINE, {}))
    if "infinite" in metric:
        cells |= {f"{name}_half": metric["half"]["value"]}
        if not below_zero(metric):
            cells[f"{name}_infinite"] = metric["infinite"]
            if baseline is None or not below_zero(baseline["metrics"].get(name)):
                paired = metric["differences"].get(BASELINE, {}).get("infinite")
                cells[f"{name}_infinite_minus_{BASELINE}"] = paired
    return cells


def _estimate(name: str, estimate: Mapping) -> dict[str, Any]:
    low, high = estimate.get("interval") or (None, None)
    return {name: estimate.get("value"), f"{name}_low": low, f"{name}_high": high}


def seconds_interval(timing: Mapping | None) -> tuple[float | None, float | None]:
    """95% interval of the median from order statistics of the raw batch-1 seconds; None where they are too few."""
    batches = [] if timing is None else timing.get("batches", [])
    seconds = next((batch["seconds"] for batch in batches if batch["batch_size"] == 1), [])
    low, high = median_interval(seconds) or (None, None)
    return low, high


def _label(spec: TableSpec, extra: Extra) -> str:
    name = spec.name_of(extra.record["method"])
    return ", ".join([name, *(f"{key.removesuffix('.name')}={_word(value)}" for key, value in extra.differs.items())])


def _word(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + " ".join(f"{key}:{_word(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + " ".join(_word(item) for item in value) + "]"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
