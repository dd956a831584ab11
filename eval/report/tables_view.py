"""A built table as the page shows it and as it is exported: grouped columns, rounded cells, and the CSV's fields."""

import csv
import dataclasses
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from eval.records import run_id
from eval.records.gates import FAILED, PASSED, Gate
from eval.report.typography import typeset
from eval.tables import Line, Table, csv_text
from eval.tables.claims import OURS as METHOD
from eval.tables.formats import MARK
from eval.tables.grid import LABEL, PAPER, Cell, Column, every_column, legend, reasons, with_values
from eval.tables.grid import METHOD as NAMES

NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Heading:
    """A column's heading. `group`: the heading over it; number: set to the right; folded: behind the switch.

    linked: its values link to their runs.
    """

    text: str
    group: str = ""
    number: bool = True
    folded: bool = False
    linked: bool = False


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
    columns: tuple[Heading, ...]
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
    """The table's columns and cells, with the CSV's fields next to every row."""
    header, *fields = csv.reader(io.StringIO(csv_text(table)))
    every = every_column(table)
    columns = with_values(every)
    cells = [[_typeset(column, cell) for cell in column.cells] for column in columns]
    rows = tuple(
        _row(table, place, line, [column[place] for column in cells], field)
        for place, (line, field) in enumerate(zip(table.lines, fields, strict=True))
    )
    headings, notes, marks = map(_heading, columns), reasons(every), _legend(columns)
    return View(
        table.spec.name, table.spec.title, tuple(headings), rows, tuple(header), tuple(notes), tuple(marks), table.gates
    )


def _heading(column: Column) -> Heading:
    words = NO_BREAK.join(filter(None, (column.heading, column.arrow)))
    group = "" if column.group in (NAMES, LABEL) else column.group
    linked = column.name == "run_id" or not (column.is_text or column.group == PAPER)
    return Heading(words, group, not column.is_text, column.folded, linked)


def _typeset(column: Column, cell: Cell) -> Cell:
    if column.is_text:
        return cell
    mark = MARK if cell.mark == MARK else ""
    text = typeset(cell.text) if cell.value is not None else cell.text
    return dataclasses.replace(cell, text=f"{text}{mark}", interval=typeset(cell.interval))


def _legend(columns: Sequence[Column]) -> list[str]:
    brackets = any(cell.interval for column in columns for cell in column.cells)
    return [*legend(columns), *(["Brackets: 95% interval."] if brackets else [])]


def _row(table: Table, place: int, line: Line, cells: Sequence[Cell], fields: Iterable[str]) -> Row:
    rows = table.spec.rows
    key = rows[place].method if place < len(rows) else line.record["method"]
    run = None if line.record is None else run_id(line.record)
    return Row(tuple(cells), line.status, run, tuple(fields), key, key == METHOD and place < len(rows))
