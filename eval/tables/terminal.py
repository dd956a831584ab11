"""A table in the terminal: the columns that are read first, as many as fit its width, the best values bold."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from eval.judging.gates import FAILED
from eval.tables.columns import MARK
from eval.tables.overview import COST, DIFFERENCE, LABEL, NAME, OURS, PAPER, STAR, Column, overview

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
    for line in legend(columns, dropped, bold=console.is_terminal):
        console.print(line, style="dim")
    for gate in table.gates:
        if gate.status == FAILED:
            console.print(f"✗ gate {gate.name} failed: {gate.sentence}; no row may be quoted", style="bold red")


def legend(columns: Sequence[Column], dropped: Sequence[str], *, bold: bool) -> list[str]:
    """What the marks mean, and which groups of columns are in the file alone."""
    texts = [cell.text for column in columns for cell in column.cells]
    notes = []
    if bold and any(cell.best for column in columns for cell in column.cells):
        notes.append("bold: best of its column")
    if any(text.endswith(STAR) for text in texts):
        notes.append(f"{STAR} the 95% interval of the paired difference to the baseline excludes 0")
    if any(text.endswith(MARK) for text in texts):
        notes.append(f"{MARK} timed while other processes were using the device")
    left_out = [group for group in dropped if group != LABEL]  # the names of methods say what the labels say
    if left_out:
        notes.append(f"left out in this width: {', '.join(left_out)}")
    return notes


def _grid(columns: Sequence[Column]) -> "Grid":
    from rich import box
    from rich.table import Table as Grid
    from rich.text import Text

    grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    for column in columns:
        is_words = column.group in (NAME, LABEL)
        wrapping = {"overflow": "fold"} if is_words else {"no_wrap": True, "justify": "right"}
        width = None if is_words else _widest(column) + _gap(columns, column)
        grid.add_column(Text("\n".join(_heading(column))), vertical="bottom", width=width, **wrapping)
    for row in zip(*map(_texts, columns), strict=True):
        grid.add_row(*row)
    return grid


def _texts(column: Column) -> "list[Text]":
    from rich.text import Text

    styles = ["bold green" if cell.best else "" for cell in column.cells]
    return [Text(text, style=style) for text, style in zip(_aligned(column), styles, strict=True)]


def _aligned(column: Column) -> list[str]:
    """The texts of the cells, with room where others have a mark behind the number."""
    texts = [cell.text for cell in column.cells]
    marked = any(text.endswith((STAR, MARK)) for text in texts)
    return [text if not marked or text.endswith((STAR, MARK)) else f"{text} " for text in texts]


def _heading(column: Column) -> list[str]:
    """Two lines: "FID ↓" over "ours"; a name in parts is broken, as fid_smoke is into "fid_" and "smoke ↓"."""
    if column.group in (NAME, LABEL, COST):
        return column.name.replace("-", "-\n").replace(" ", "\n").split("\n")
    if column.group == OURS:
        first, underscore, last = column.name.partition("_")
        return [first + underscore, f"{last} {column.arrow}".strip()]
    return [column.name.partition("_")[0], "paper" if column.group == PAPER else "- base"]


def _width(columns: Sequence[Column]) -> int:
    """Columns of the terminal that these take with no cell wrapped and one space between."""
    return sum(1 + _widest(column) + _gap(columns, column) for column in columns)


def _widest(column: Column) -> int:
    widest = max(map(len, [*_heading(column), *_aligned(column)]))
    return widest if column.group not in (NAME, LABEL) else min(widest, NAME_WIDTH)


def _gap(columns: Sequence[Column], column: Column) -> int:
    """One space more before the first column of a group of numbers."""
    at = columns.index(column)
    return int(column.group not in (NAME, LABEL) and columns[at - 1].group != column.group)
