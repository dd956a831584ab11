"""A table as a page of Markdown: what is read first, then gates, claims and problems, then all columns."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from eval.tables.claims import claims, in_words
from eval.tables.footnotes import escape, footnotes, gate_lines, problems
from eval.tables.formats import heading
from eval.tables.grid import Cell, Column, grid, legend

if TYPE_CHECKING:
    from eval.tables import Table


def render(table: "Table") -> str:
    """The page, ending in a newline."""
    columns = grid(table)
    first = [column for column in columns if not column.folded]
    notes = " ".join(map(escape, legend(first))) or "No row has a value."
    parts = [f"# {escape(table.spec.title)}", _markdown(first), notes]
    sections = {
        "Gates": [escape(text) for text in gate_lines(table)],
        "Claims": [escape(in_words(claim)) for claim in claims(table)],
        "Problems": problems(table),
    }
    parts += [f"## {title}\n\n{_listed(lines)}" for title, lines in sections.items() if lines]
    parts += ["## All columns", _markdown(columns, intervals=True), _listed(footnotes(table))]
    return "\n\n".join(parts) + "\n"


def _markdown(columns: Sequence[Column], *, intervals: bool = False) -> str:
    headings = [f"{heading(column.name)} {column.arrow}".strip() for column in columns]
    rule = ["---" if column.is_text else "---:" for column in columns]
    cells = [[_cell(cell, intervals=intervals) for cell in column.cells] for column in columns]
    return "\n".join("| " + " | ".join(row) + " |" for row in [headings, rule, *zip(*cells, strict=True)])


def _cell(cell: Cell, *, intervals: bool) -> str:
    """One number a cell with its mark, or with its interval where the table has all columns."""
    text = escape(f"{cell.text}{cell.mark}")
    text = f"**{text}**" if cell.best else text
    return f"{text} {cell.interval}" if intervals and cell.interval else text


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
