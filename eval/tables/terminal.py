"""A table in the terminal: the columns that are read first, as many as fit its width, the best values bold."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eval.records.gates import FAILED
from eval.tables.grid import COST, DIFFERENCE, LABEL, OURS, PAPER, Column, legend, overview

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as Grid
    from rich.text import Text

    from eval.tables import Table

WIDTH = 100  # where the output is no terminal
NAME_WIDTH = 24  # a longer name is wrapped before a group of numbers is left out
# Left out in this order where the terminal is too narrow.
OPTIONAL = (LABEL, PAPER, DIFFERENCE, COST)


def terminal() -> "Console":
    """The console of the standard output: coloured on a terminal, otherwise plain and `WIDTH` columns wide."""
    from rich.console import Console  # only here: most commands print no table

    width = None if sys.stdout.isatty() else WIDTH
    return Console(file=sys.stdout, width=width, highlight=False, markup=False, emoji=False)


def print_table(table: "Table", console: "Console") -> None:
    """Print the title, the rows and the meaning of the marks."""
    columns, dropped = overview(table), []
    for group in OPTIONAL:
        if _width(columns) <= console.width:
            break
        dropped += [group] if any(column.group == group for column in columns) else []
        columns = [column for column in columns if column.group != group]
    console.print(table.spec.title, style="bold")
    console.print(_grid(columns))
    notes = legend(columns, bold=console.is_terminal)
    left_out = [group.lower() for group in dropped if group != LABEL]  # the names of methods say what the labels say
    notes += [f"Left out in this width: {', '.join(left_out)}."] if left_out else []
    for note in notes:
        console.print(note, style="dim")
    for gate in table.gates:
        if gate.status == FAILED:
            console.print(f"✗ gate {gate.name} failed: {gate.details}; no row may be quoted", style="bold red")


def _grid(columns: Sequence[Column]) -> "Grid":
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for column in columns:
        wrapping = {"overflow": "fold"} if column.is_text else {"no_wrap": True, "justify": "right"}
        width = None if column.is_text else _widest(column) + _gap(columns, column)
        grid.add_column(Text("\n".join(_heading(column))), vertical="bottom", width=width, **wrapping)
    for row in zip(*map(_texts, columns), strict=True):
        grid.add_row(*row)
    return grid


def _texts(column: Column) -> "list[Text]":
    from rich.text import Text

    styles = ["bold green" if cell.best else "" for cell in column.cells]
    return [Text(text, style=style) for text, style in zip(_aligned(column), styles, strict=True)]


def _aligned(column: Column) -> list[str]:
    """The texts of the cells with their marks, with room where others have one behind the number."""
    room = " " if any(cell.mark for cell in column.cells) else ""
    return [f"{cell.text}{cell.mark or room}" for cell in column.cells]


def _heading(column: Column) -> list[str]:
    """Two lines: "FID ↓" over "ours"; a name in parts is broken, as fid_smoke is into "fid_" and "smoke ↓"."""
    if column.is_text or column.group == COST:
        return column.heading.replace("-", "-\n").replace(" ", "\n").split("\n")
    if column.group == OURS:
        first, underscore, last = column.heading.partition("_")
        return [first + underscore, f"{last} {column.arrow}".strip()]
    return [column.heading.partition("_")[0], "paper" if column.group == PAPER else "- base"]


def _width(columns: Sequence[Column]) -> int:
    """Columns of the terminal that these take with no cell wrapped and one space between."""
    return sum(1 + _widest(column) + _gap(columns, column) for column in columns)


def _widest(column: Column) -> int:
    widest = max(map(len, [*_heading(column), *_aligned(column)]))
    return min(widest, NAME_WIDTH) if column.is_text else widest


def _gap(columns: Sequence[Column], column: Column) -> int:
    """One space more before the first column of a group of numbers."""
    at = columns.index(column)
    return int(not column.is_text and columns[at - 1].group != column.group)
