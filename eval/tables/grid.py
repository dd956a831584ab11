"""The columns and cells of a table as it is shown: in the terminal, as Markdown and on the report's page.

Decided here once: which columns there are, in which groups, which are folded, how numbers are rounded, what is best,
what is marked, and why a value is absent. What shows a table only lays it out.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.records import BASELINE
from eval.tables.costs import COSTS, SPEED_UP
from eval.tables.footnotes import below_zero
from eval.tables.formats import LOWER, MARK, arrow, heading, interval, mark, number, over_seeds
from eval.tables.spec import BESIDE, SECONDS, UNPAIRED

if TYPE_CHECKING:
    from eval.tables import Line, Table

METHOD, LABEL = "Method", "Label"
OURS, COST, PAPER, DIFFERENCE = "Ours", "Cost", "Paper", "Difference to baseline"
SEEDS, RUN = "Over seeds", "Run"
STAR = "*"  # at a difference whose 95% interval excludes 0
INVALID = " (invalid)"  # at the name of a row
BETTER, WORSE, DIFFERENT = "better", "worse", "different"
INFINITE = "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}∞"
_MINUS = f"_minus_{BASELINE}"
_WITH_GROUP = {name for names in BESIDE.values() for name in names}  # metrics whose group says their name
_NEGATIVE = "the extrapolation is negative, which no distance can be"


@dataclass(frozen=True)
class Cell:
    """`text`: a rounded number, words, or "" without a value; interval: in brackets, or "".

    value: the number behind the text. best: as good as any of its column. change: of a difference whose interval
    excludes 0, "better", "worse", or "different" where neither is known. mark: `STAR`, `MARK`, `INVALID` or "".
    note: why there is no value.
    """

    text: str = ""
    interval: str = ""
    value: float | None = None
    best: bool = False
    change: str = ""
    mark: str = ""
    note: str = ""


@dataclass(frozen=True)
class Column:
    """A column of the CSV file (or "over seeds", which stands for two), its group, and its cells by row.

    arrow: which way its numbers are better; "" where that is not known. folded: it is shown on request only.
    """

    name: str
    group: str
    cells: tuple[Cell, ...]
    arrow: str = ""
    folded: bool = False

    @property
    def heading(self) -> str:
        """The words under its group: "FID" for fid, paper_fid and fid_minus_none."""
        base = _base(self.name)
        if base.endswith("_half"):
            return "n/2"
        if base.endswith("_infinite"):
            return INFINITE if base == self.name else f"Difference, {INFINITE}"
        if self.folded and base.removesuffix("_smoke") in _WITH_GROUP:
            return "Value" if base == self.name else "Difference"
        return heading(base)

    @property
    def is_text(self) -> bool:
        """Whether its cells are words and not numbers."""
        return self.group in (METHOD, LABEL) or self.name in ("protocol", "status", "run_id")


def every_column(table: "Table") -> list[Column]:
    """The columns in order: methods, labels, ours, cost, the paper's, differences, then the folded ones."""
    shown = [("model", METHOD), *((name, LABEL) for name in table.spec.labels if name != "model")]
    shown += [(name, OURS) for name in table.metrics]
    shown += [(name, COST) for name in COSTS if name in table.columns]
    shown += [(f"paper_{metric}", PAPER) for metric in table.spec.metrics]
    shown += [(name, DIFFERENCE) for name in _paired(table)]
    columns = [(name, group, False) for name, group in shown] + [(*each, True) for each in _folded(table)]
    return [
        Column(name, group, _column(table, name), arrow(_base(name), table.spec), folded)
        for name, group, folded in columns
    ]


def with_values(columns: Sequence[Column]) -> list[Column]:
    """Those of the columns that have a value; the others are not shown."""
    return [column for column in columns if any(cell.text for cell in column.cells)]


def grid(table: "Table") -> list[Column]:
    """The columns that are shown."""
    return with_values(every_column(table))


def overview(table: "Table") -> list[Column]:
    """The columns that are read first."""
    return [column for column in grid(table) if not column.folded]


def reasons(columns: Sequence[Column]) -> list[str]:
    """Why values are absent, one line for each of `every_column` and reason, also of columns without any value."""
    found: dict[tuple[str, str], list[str]] = {}
    names = [cell.text for cell in columns[0].cells]
    for column in columns:
        name = column.heading if column.group == OURS else f"{column.group}, {column.heading}"
        for row, cell in zip(names, column.cells, strict=True):
            if cell.note:
                found.setdefault((name, cell.note), []).append(row)
    return [f"No {name} of {', '.join(rows)}: {note}." for (name, note), rows in found.items()]


def row_names(table: "Table") -> list[str]:
    """The one name of each row: that of its method, for a record beyond the table's rows its label."""
    own = [table.spec.name_of(row.method) for row in table.spec.rows]
    return [*own, *(line.cells["model"] for line in table.lines[len(own) :])]


def legend(columns: Sequence[Column], *, bold: bool = True) -> list[str]:
    """What the marks of these columns mean, those that occur."""
    cells = [cell for column in columns for cell in column.cells]
    notes = ["Bold: best of its column."] if bold and any(cell.best for cell in cells) else []
    if any(cell.mark == STAR for cell in cells):
        notes.append(f"{STAR} The 95% interval of the paired difference to the baseline excludes 0.")
    elif any(column.group == DIFFERENCE for column in columns):
        notes.append("No 95% interval of a difference to the baseline excludes 0.")
    if any(cell.mark == MARK for cell in cells):
        notes.append(f"{MARK} Timed while other processes were using the device.")
    return notes


def change(way: str, low: float | None, high: float | None) -> str:
    """What the 95% interval of a difference says: better, worse or different; "" where it includes 0.

    way: the arrow of its metric.
    """
    if low is None or high is None or low <= 0 <= high:
        return ""
    if not way:
        return DIFFERENT
    return BETTER if (high < 0) == (way == LOWER) else WORSE


def speed_up_mark(table: "Table", line: "Line") -> str:
    """`MARK` where the row or the baseline was timed on a busy device."""
    return mark(line.record) or mark(table.baseline)


def _paired(table: "Table") -> list[str]:
    return [f"{name}{_MINUS}" for name in table.metrics if name not in UNPAIRED]


def _folded(table: "Table") -> Iterator[tuple[str, str]]:
    for name in table.beside:
        yield from ((each, heading(name)) for each in (name, f"{name}{_MINUS}"))
    for name in table.metrics:
        ends = [f"{name}{end}" for end in ("_half", "_infinite", f"_infinite{_MINUS}")]
        yield from ((each, f"{heading(name)} by n") for each in ends if each in table.columns)
    if table.seeds:
        yield from ((f"{name}_over_seeds", SEEDS) for name in [*table.metrics, *_paired(table)])
    yield from ((name, RUN) for name in ("n", "protocol", "status", "run_id"))


def _column(table: "Table", name: str) -> tuple[Cell, ...]:
    if name == "model":
        marks = [INVALID if line.status == "invalid" else "" for line in table.lines]
        return tuple(Cell(text, mark=mark) for text, mark in zip(row_names(table), marks, strict=True))
    return tuple(_with_best(table, name, [_cell(table, line, name) for line in table.lines]))


def _cell(table: "Table", line: "Line", name: str) -> Cell:
    if name.endswith("_over_seeds"):
        return Cell(over_seeds(line, name))
    value: Any = line.cells[name]
    if name in (*table.spec.labels, "status", "protocol", "run_id"):
        return Cell(value or "")
    if value is None:
        return _absent(table, line, name)
    if name == "n":
        return Cell(str(value), value=value)
    is_difference = name.endswith(_MINUS)
    if is_difference and _is_baseline(line):
        return Cell(value=value)
    sign, ends = "+" if is_difference else "", [line.cells.get(f"{name}_{end}") for end in ("low", "high")]
    changed = change(arrow(_base(name), table.spec), *ends) if is_difference else ""
    marked = {SECONDS: mark(line.record), SPEED_UP: speed_up_mark(table, line)}.get(name, STAR if changed else "")
    return Cell(number(name, value, sign), interval(name, *ends, sign), value, change=changed, mark=marked)


def _absent(table: "Table", line: "Line", name: str) -> Cell:
    """A cell without a number: the row's status, or nothing with the reason."""
    if name in table.metrics and line.status in ("failed", "missing"):
        return Cell(line.status)
    metrics = {} if line.record is None else line.record["metrics"]
    base = name.removesuffix("_infinite")
    if base != name and below_zero(metrics.get(base)):
        return Cell(note=_NEGATIVE)
    return Cell(note=metrics.get(name, {}).get("reason") or "")


def _with_best(table: "Table", name: str, cells: Sequence[Cell]) -> list[Cell]:
    """The cells with the best marked: of complete rows and of times on an idle device. What looks equal is equal."""
    metric = name.removeprefix("paper_")
    way = arrow(metric, table.spec)
    if not way:
        return list(cells)

    def counts(cell: Cell, line: "Line") -> bool:
        # The SSIM of the baseline is that of its images to themselves.
        itself = metric == "ssim" and _is_baseline(line)
        complete = line.status == "ok" or name != metric
        return cell.value is not None and complete and cell.mark != MARK and not itself

    valid = [cell for cell, line in zip(cells, table.lines, strict=True) if counts(cell, line)]
    if len(valid) < 2:
        return list(cells)
    best = (min if way == LOWER else max)(valid, key=lambda cell: cell.value).text
    return [
        dataclasses.replace(cell, best=counts(cell, line) and cell.text == best)
        for cell, line in zip(cells, table.lines, strict=True)
    ]


def _base(name: str) -> str:
    """The metric that a column is about."""
    return name.removesuffix("_over_seeds").removesuffix(_MINUS).removeprefix("paper_")


def _is_baseline(line: "Line") -> bool:
    return line.record is not None and line.record["method"] == BASELINE
