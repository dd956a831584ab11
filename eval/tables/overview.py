"""A table as it is read first: one number a cell, in groups; the intervals and all else are in the full table."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eval.tables.columns import arrow, heading, mark, number
from eval.tables.costs import SPEED_UP, TOKENS_KEPT
from eval.tables.spec import UNPAIRED, better

if TYPE_CHECKING:
    from eval.tables import Line, Table

NAME, LABEL, OURS, PAPER, DIFFERENCE, COST = "method", "labels", "ours", "paper", "minus baseline", "cost"
STAR = "*"  # at a difference whose 95% interval excludes 0
BASELINE = "none"


@dataclass(frozen=True)
class Cell:
    """`text`, and whether it is the best of its column."""

    text: str
    best: bool = False


@dataclass(frozen=True)
class Column:
    """A column of the CSV file (the first: the rows' names), the group it is shown in, and its cells by row."""

    column: str
    group: str
    cells: tuple[Cell, ...]

    @property
    def name(self) -> str:
        """The metric's words alone, such as "FID"; its group says whose."""
        if self.group == NAME:
            return "Method"
        return heading(self.column.removeprefix("paper_").removesuffix("_minus_none"))

    @property
    def arrow(self) -> str:
        """Which way is better, for a metric of ours or the paper's; "" where there is no better."""
        return arrow(self.column.removeprefix("paper_"))


def overview(table: "Table") -> list[Column]:
    """The rows' names, further labels, our metrics, the paper's, the differences to the baseline, what it costs.

    A column without a value is left out.
    """
    columns = [_names(table), *_labels(table), *_metrics(table), *_papers(table), *_differences(table), *_costs(table)]
    return [column for column in columns if any(cell.text for cell in column.cells)]


def names(table: "Table") -> list[str]:
    """The one name of each row: that of its method, for a record beyond the table's rows its label."""
    own = [table.spec.name_of(row.method) for row in table.spec.rows]
    return [*own, *(line.cells["model"] for line in table.lines[len(own) :])]


def _names(table: "Table") -> Column:
    shown = [
        f"{name} (invalid)" if line.status == "invalid" else name
        for name, line in zip(names(table), table.lines, strict=True)
    ]
    return Column(NAME, NAME, tuple(map(Cell, shown)))


def _labels(table: "Table") -> Iterator[Column]:
    for label in table.spec.labels:
        if label != "model":
            yield Column(label, LABEL, tuple(Cell(line.cells[label] or "") for line in table.lines))


def _metrics(table: "Table") -> Iterator[Column]:
    for metric in table.metrics:
        # The SSIM of the baseline is that of its images to themselves.
        measured = [
            line.cells[metric] if line.status == "ok" and not (metric == "ssim" and _is_baseline(line)) else None
            for line in table.lines
        ]
        best = _best(metric, metric, measured)
        texts = [
            number(metric, line.cells[metric]) + mark(line, metric) if line.status in ("ok", "invalid") else line.status
            for line in table.lines
        ]
        yield Column(metric, OURS, tuple(map(Cell, texts, best)))


def _papers(table: "Table") -> Iterator[Column]:
    for metric in table.spec.metrics:
        column = f"paper_{metric}"
        values = [line.cells[column] for line in table.lines]
        texts = [number(column, value) for value in values]
        yield Column(column, PAPER, tuple(map(Cell, texts, _best(column, metric, values))))


def _differences(table: "Table") -> Iterator[Column]:
    for metric in table.metrics:
        if metric not in UNPAIRED:
            column = f"{metric}_minus_none"
            yield Column(column, DIFFERENCE, tuple(Cell(_difference(line, column)) for line in table.lines))


def _difference(line: "Line", column: str) -> str:
    value, low, high = (line.cells[f"{column}{end}"] for end in ("", "_low", "_high"))
    if value is None or _is_baseline(line):
        return ""
    excludes = low is not None and high is not None and not low <= 0 <= high
    return number(column, value, "+") + (STAR if excludes else "")


def _costs(table: "Table") -> Iterator[Column]:
    for column in (SPEED_UP, TOKENS_KEPT):
        if column in table.columns:
            texts = [number(column, line.cells[column]) + mark(line, column) for line in table.lines]
            yield Column(column, COST, tuple(map(Cell, texts)))


def _best(column: str, metric: str, values: Sequence[float | None]) -> list[bool]:
    """Which of the values are shown as the best one is; none where fewer than two compare."""
    there = [value for value in values if value is not None]
    direction = better(metric)
    if len(there) < 2 or direction is None:
        return [False] * len(values)
    best = number(column, min(there) if direction == "lower" else max(there))
    return [number(column, value) == best for value in values]


def _is_baseline(line: "Line") -> bool:
    return line.record is not None and line.record["method"] == BASELINE
