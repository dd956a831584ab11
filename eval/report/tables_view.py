"""A built table as the page shows it and as it is exported: grouped columns, rounded cells, and the CSV's fields."""

import csv
import dataclasses
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.judging.gates import BASELINE, FAILED, PASSED, Gate
from eval.records import run_id
from eval.report.columns import (
    OURS,
    Column,
    arrow,
    change,
    column_of,
    interval,
    names_of,
    rounded,
)
from eval.tables import Line, Table, csv_text
from eval.tables.claims import OURS as METHOD
from eval.tables.columns import LOWER, MARK, mark, over_seeds
from eval.tables.costs import SPEED_UP, TOKENS_KEPT
from eval.tables.footnotes import below_zero
from eval.tables.overview import STAR
from eval.tables.overview import names as names_of_rows
from eval.tables.spec import SECONDS

ABSENT = "\N{EN DASH}"


@dataclass(frozen=True)
class Cell:
    """`text` as shown; `interval` in brackets after it; `sort` a number where it is one; `note`: why there is none.

    measured: it links to its run. best: the best of its column. change: "better" or "worse" where the interval of a
    difference excludes 0.
    """

    text: str
    interval: str = ""
    sort: float | None = None
    measured: bool = False
    best: bool = False
    change: str = ""
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One line. `csv`: its fields in the CSV file, as text. key: the method's key; emphasis: ReToM's own row."""

    cells: tuple[Cell, ...]
    status: str
    run: str | None
    csv: tuple[str, ...]
    key: str = ""
    emphasis: bool = False


@dataclass(frozen=True)
class View:
    """A table of the page. `csv_header`: the columns of the CSV file; legend: its marks; notes: what is said below."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    csv_header: tuple[str, ...]
    notes: tuple[str, ...] = ()
    legend: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()

    @property
    def groups(self) -> list[tuple[str, int, bool]]:
        """The headings over columns: (words, number of columns, all of them folded). Empty where no column has one."""
        found: list[tuple[str, int, bool]] = []
        for column in self.columns:
            if found and found[-1][0] == column.group and found[-1][2] == column.folded:
                found[-1] = (column.group, found[-1][1] + 1, column.folded)
            else:
                found.append((column.group, 1, column.folded))
        return found if any(words for words, _, _ in found) else []

    @property
    def failed_gates(self) -> list[Gate]:
        """The gates that failed: no row of the table may be quoted."""
        return [gate for gate in self.gates if gate.status == FAILED]

    @property
    def passed_gates(self) -> int:
        """How many gates passed."""
        return sum(gate.status == PASSED for gate in self.gates)


def view(table: Table) -> View:
    """The table's columns, grouped, those without a value left out, with the CSV's fields next to every row."""
    header, *fields = csv.reader(io.StringIO(csv_text(table)))
    names = names_of(table)
    columns = {name: column_of(table, name, group, folded) for name, (group, folded) in names.items()}
    labels = names_of_rows(table)
    cells = {name: [_cell(table, line, name) for line in table.lines] for name in names}
    cells["model"] = [Cell(label) for label in labels]
    filled = [name for name in names if any(cell.text not in ("", ABSENT) for cell in cells[name])]
    marked = [_with_best(table, name, cells[name]) for name in filled]
    rows = tuple(
        _row(table, place, line, [column[place] for column in marked], field)
        for place, (line, field) in enumerate(zip(table.lines, fields, strict=True))
    )
    notes = tuple(_reasons(labels, {columns[name]: cells[name] for name in names}))
    shown = tuple(columns[name] for name in filled)
    return View(table.spec.name, table.spec.title, shown, rows, tuple(header), notes, legend(rows), table.gates)


def legend(rows: Iterable[Row]) -> tuple[str, ...]:
    """What the marks in `rows` mean, those that occur."""
    cells = [cell for row in rows for cell in row.cells]
    found = []
    if any(cell.best for cell in cells):
        found.append("Bold: best of its column.")
    if any(cell.interval for cell in cells):
        found.append("Brackets: 95% interval.")
    if any(cell.change for cell in cells):
        found.append(f"{STAR} The interval of the difference excludes 0.")
    if any(MARK in cell.text for cell in cells):
        found.append(f"{MARK} Timed while other processes were using the device.")
    return tuple(found)


def _cell(table: Table, line: Line, name: str) -> Cell:
    if name in (SPEED_UP, TOKENS_KEPT):
        return _cost(table, line, name)
    if name.endswith("_over_seeds"):
        return Cell(over_seeds(line, name))
    value: Any = line.cells[name]
    if name in table.spec.labels or name in ("status", "protocol"):
        return Cell(value or "")
    if name in ("n", "run_id"):
        return Cell("" if value is None else str(value), sort=value if name == "n" else None, measured=name == "run_id")
    if value is None:
        return _empty(table, line, name)
    sign = "+" if name.endswith(f"_minus_{BASELINE}") else ""
    ends = line.cells.get(f"{name}_low"), line.cells.get(f"{name}_high")
    if sign and line.record["method"] == BASELINE:
        return Cell(ABSENT, sort=value)
    changed = change(name.removesuffix(f"_minus_{BASELINE}"), *ends) if sign else ""
    text = rounded(name, value, sign) + mark(line, name)
    return Cell(text, interval(name, *ends, sign), value, measured=not name.startswith("paper_"), change=changed)


def _empty(table: Table, line: Line, name: str) -> Cell:
    """A cell without a number: the row's status, or a dash with the reason."""
    base = name.removesuffix("_infinite")
    if base != name and line.record is not None and below_zero(line.record["metrics"].get(base)):
        return Cell(ABSENT, note="the extrapolation is negative, which no distance can be")
    if name in table.metrics and line.status in ("failed", "missing"):
        return Cell(line.status)
    metric = {} if line.record is None else line.record["metrics"].get(name, {})
    reason = metric.get("reason") if name in (*table.metrics, *table.beside) else None
    return Cell(ABSENT, note=reason) if reason else Cell("")


def _cost(table: Table, line: Line, name: str) -> Cell:
    value = line.cells.get(name)
    if value is None:
        return Cell("")
    timed = name == SPEED_UP
    return Cell(rounded(name, value) + (busy(table, line) if timed else ""), sort=value, measured=timed)


def busy(table: Table, line: Line) -> str:
    """The mark of a speed-up of which either time was taken on a busy device; else ""."""
    base = next((each for each in table.lines if each.record and each.record["method"] == BASELINE), line)
    return mark(line, SECONDS) or mark(base, SECONDS)


def _with_best(table: Table, name: str, cells: Sequence[Cell]) -> list[Cell]:
    """The column with its best cells marked: among complete rows, and seconds of an idle device; ties are all best."""
    base, lines = name.removeprefix("paper_"), table.lines
    if not arrow(base):
        return list(cells)

    def counts(cell: Cell, line: Line) -> bool:
        itself = base == "ssim" and line.record is not None and line.record["method"] == BASELINE
        whole = line.status == "ok" or name != base
        return cell.sort is not None and whole and MARK not in cell.text and not itself

    valid = [cell for cell, line in zip(cells, lines, strict=True) if counts(cell, line)]
    if len(valid) < 2:
        return list(cells)
    pick: Callable = min if arrow(base) == LOWER else max
    best = pick(valid, key=lambda cell: cell.sort).text
    return [
        dataclasses.replace(cell, best=counts(cell, line) and cell.text == best)
        for cell, line in zip(cells, lines, strict=True)
    ]


def _row(table: Table, place: int, line: Line, cells: Sequence[Cell], fields: Iterable[str]) -> Row:
    rows = table.spec.rows
    key = rows[place].method if place < len(rows) else line.record["method"]
    run = None if line.record is None else run_id(line.record)
    return Row(tuple(cells), line.status, run, tuple(fields), key, key == METHOD and place < len(rows))


def _reasons(labels: Sequence[str], columns: Mapping[Column, Sequence[Cell]]) -> list[str]:
    """Why cells are left out, one line for each column and reason."""
    found: dict[tuple[str, str], list[str]] = {}
    for column, cells in columns.items():
        name = column.heading if column.group in ("", OURS) else f"{column.group}, {column.heading}"
        for label, cell in zip(labels, cells, strict=True):
            if cell.note:
                found.setdefault((name, cell.note), []).append(label)
    return [f"No {name} of {', '.join(rows)}: {note}." for (name, note), rows in found.items()]
