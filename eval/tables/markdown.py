"""A table as a page of Markdown: what is read first, then gates, claims and problems, then all columns."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from eval.tables.claims import claims, sentence
from eval.tables.columns import MARK, cell, heading, shown
from eval.tables.footnotes import escape, footnotes, gate_lines, problems
from eval.tables.overview import COST, DIFFERENCE, LABEL, NAME, STAR, Column, overview

if TYPE_CHECKING:
    from eval.tables import Table


def render(table: "Table") -> str:
    """The page, ending in a newline."""
    columns = overview(table)
    parts = [f"# {escape(table.spec.title)}", _overview(columns), legend(columns)]
    sections = {
        "Gates": [escape(text) for text in gate_lines(table)],
        "Claims": [escape(sentence(claim)) for claim in claims(table)],
        "Problems": problems(table),
    }
    parts += [f"## {title}\n\n{_listed(lines)}" for title, lines in sections.items() if lines]
    parts += ["## All columns", _all_columns(table), _listed(footnotes(table))]
    return "\n\n".join(parts) + "\n"


def legend(columns: Sequence[Column]) -> str:
    """What the marks of these columns mean."""
    texts = [cell.text for column in columns for cell in column.cells]
    notes = ["Bold: best of its column."] if any(cell.best for column in columns for cell in column.cells) else []
    if any(column.group == DIFFERENCE for column in columns):
        star = "\\*" if any(text.endswith(STAR) for text in texts) else ""
        notes.append(
            f"{star}: the 95% interval of the paired difference to the baseline excludes 0."
            if star
            else "No 95% interval of a difference to the baseline excludes 0."
        )
    if any(text.endswith(MARK) for text in texts):
        notes.append(f"{MARK}: timed while other processes were using the device.")
    return " ".join(notes) or "No row has a value."


def _overview(columns: Sequence[Column]) -> str:
    words = (NAME, LABEL)
    headings = [column.name if column.group in words else _heading(column) for column in columns]
    rule = ["---" if column.group in words else "---:" for column in columns]
    body = zip(*([_bold(cell.text, cell.best) for cell in column.cells] for column in columns), strict=True)
    return _table([headings, rule, *body])


def _heading(column: Column) -> str:
    return heading(column.column) if column.group == COST else f"{heading(column.column)} {column.arrow}".strip()


def _bold(text: str, best: bool) -> str:
    return f"**{escape(text)}**" if best else escape(text)


def _all_columns(table: "Table") -> str:
    columns = shown(table)
    words = (*table.spec.labels, "status")
    rule = ["---" if column in words else "---:" for column in columns]
    body = [[_full_cell(table, cell(table, line, column), column) for column in columns] for line in table.lines]
    return _table([[heading(column) for column in columns], rule, *body])


def _full_cell(table: "Table", text: str, column: str) -> str:
    return escape(text) if column in table.spec.labels else text


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _table(lines: Iterable[Iterable[str]]) -> str:
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
