"""A built table as the page shows it, and as it is exported: the same lines in words and at full precision."""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from eval.records import run_id
from eval.tables import Line, Table, csv_text
from eval.tables.claims import claims, sentence
from eval.tables.markdown import gate_lines, heading, mark, number, over_seeds, shown


@dataclass(frozen=True)
class Cell:
    """`text` as shown; `interval` in brackets after it; `sort` a number where it is one; `number`: set to the right."""

    text: str
    interval: str = ""
    sort: float | None = None
    number: bool = False
    measured: bool = False


@dataclass(frozen=True)
class Row:
    """One line. `csv`: its fields in the CSV file, as text."""

    cells: tuple[Cell, ...]
    status: str
    run: str | None
    csv: tuple[str, ...]


@dataclass(frozen=True)
class View:
    """A table of the page. `csv_header`: the columns of the CSV file."""

    name: str
    title: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    csv_header: tuple[str, ...]
    claims: tuple[str, ...]


def view(table: Table) -> View:
    """The columns of the Markdown file, with the CSV's fields beside every row."""
    header, *fields = csv.reader(io.StringIO(csv_text(table)))
    columns = shown(table)
    rows = tuple(_row(table, line, columns, field) for line, field in zip(table.lines, fields, strict=True))
    said = (*gate_lines(table), *(sentence(claim) for claim in claims(table)))
    headings = tuple(heading(column) for column in columns)
    return View(table.spec.name, table.spec.title, headings, rows, tuple(header), said)


def _row(table: Table, line: Line, columns: Iterable[str], fields: Iterable[str]) -> Row:
    cells = tuple(_cell(table, line, column) for column in columns)
    return Row(cells, line.status, None if line.record is None else run_id(line.record), tuple(fields))


def _cell(table: Table, line: Line, column: str) -> Cell:
    if column not in line.cells:
        return Cell(over_seeds(line, column), number=True)
    value: Any = line.cells[column]
    if column in table.spec.labels or column == "status":
        return Cell(value or "")
    if column == "n":
        return Cell("" if value is None else str(value), sort=value, number=True)
    if value is None:
        return Cell(line.status if column in table.metrics and line.status != "ok" else "", number=True)
    sign = "+" if column.endswith("_minus_none") else ""
    low, high = line.cells.get(f"{column}_low"), line.cells.get(f"{column}_high")
    interval = "" if low is None or high is None else f"[{number(column, low, sign)}, {number(column, high, sign)}]"
    text = number(column, value, sign) + mark(line, column)
    return Cell(text, interval, value, number=True, measured=not column.startswith("paper_"))
