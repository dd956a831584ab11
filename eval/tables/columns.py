"""The columns of a table as a reader sees them: headings, numbers with their decimals, marks."""

from typing import TYPE_CHECKING

from eval.tables.costs import SPEED_UP, TOKENS_KEPT
from eval.tables.spec import SECONDS, UNPAIRED, better

if TYPE_CHECKING:
    from eval.tables import Line, Table

_HEADINGS = {
    "model": "Model",
    "window_size": "Window size",
    "dest_token": "Dest. token",
    "destination": "Destination",
    "fid": "FID",
    "clip": "CLIP",
    "ssim": "SSIM",
    "s_per_im": "s/im",
    "kid": "KID x 1000",
    "kid_smoke": "kid_smoke x 1000",
    SPEED_UP: "Speed-up",
    TOKENS_KEPT: "Tokens kept",
}
_ENDINGS = {"_minus_none": " - baseline", "_half": " at n/2", "_infinite": " at infinity"}
_SEEDS = "_over_seeds"  # a column of the page alone: mean and standard deviation
_NO_NUMBERS = ("failed", "missing")
LOWER, HIGHER = "↓", "↑"
MARK = "†"  # at times that were not measured on an idle device


def heading(column: str) -> str:
    """The heading of a column of the CSV file: "FID (paper)" for paper_fid."""
    if column.startswith("paper_"):
        return f"{heading(column.removeprefix('paper_'))} (paper)"
    if column.endswith(_SEEDS):
        return f"{heading(column.removesuffix(_SEEDS))} over seeds"
    for ending, words in _ENDINGS.items():
        if column.endswith(ending):
            return heading(column.removesuffix(ending)) + words
    return _HEADINGS.get(column, column)


def arrow(metric: str) -> str:
    """Which values of a metric are better, as an arrow; "" where that is not known."""
    return {"lower": LOWER, "higher": HIGHER}.get(better(metric) or "", "")


def shown(table: "Table") -> list[str]:
    """The columns of the page that have values, the paper's first. Each is one of the CSV file, or stands for two."""
    paired = [f"{name}_minus_none" for name in table.metrics if name not in UNPAIRED]
    beside = [*table.beside, *(column for column in table.columns if column.endswith(("_half", "_infinite")))]
    costs = [column for column in (SPEED_UP, TOKENS_KEPT) if column in table.columns]
    seeds = [f"{name}{_SEEDS}" for name in [*table.metrics, *paired]] if table.seeds else []
    papers = [f"paper_{metric}" for metric in table.spec.metrics]
    columns = [*table.spec.labels, *table.metrics, *papers, *paired, *costs, *beside, *seeds, "n", "status"]
    return [column for column in columns if any(cell(table, line, column) for line in table.lines)]


def number(column: str, value: float | None, sign: str = "") -> str:
    """A number of `column` as tables show it: two decimals as in the paper, three of our SSIM.

    SSIM is at most 1, and destinations differ in its third decimal. KID is multiplied by 1,000.
    """
    if value is None:
        return ""
    if column == SPEED_UP:
        return f"{value:.2f}x"
    if column == TOKENS_KEPT:
        return f"{value:.0%}"
    if column.startswith("kid"):
        value *= 1000
    return f"{value:{sign}.{3 if column.startswith('ssim') else 2}f}"


def interval(column: str, low: float | None, high: float | None, sign: str = "") -> str:
    """A 95% interval in brackets; "" where there is none."""
    return "" if low is None or high is None else f"[{number(column, low, sign)}, {number(column, high, sign)}]"


def cell(table: "Table", line: "Line", column: str) -> str:
    """One cell of the page as plain text: a value is followed by its interval in brackets."""
    if column.endswith(_SEEDS):
        return over_seeds(line, column)
    value = line.cells[column]
    if column in (*table.spec.labels, "n", "status"):
        return "" if value is None else str(value)
    if column in table.metrics and line.status in _NO_NUMBERS:
        return line.status
    sign = "+" if column.endswith("_minus_none") else ""
    text = number(column, value, sign) + mark(line, column)
    ends = interval(column, line.cells.get(f"{column}_low"), line.cells.get(f"{column}_high"), sign)
    return f"{text} {ends}" if text and ends else text


def over_seeds(line: "Line", column: str) -> str:
    """Mean and standard deviation over the seeds, of a page's column that ends so; "" for any other."""
    if not column.endswith(_SEEDS):
        return ""
    name = column.removesuffix(_SEEDS)
    mean, sd = (number(name, line.cells[f"{name}_seed_{what}"]) for what in ("mean", "sd"))
    return f"{mean}{f' +- {sd}' if sd else ''} ({line.cells['seeds']})" if mean else ""


def mark(line: "Line", column: str) -> str:
    """`MARK` at the time and the speed-up of a row that was not timed on an idle device, or not known to be."""
    timing = (line.record or {}).get("timing")
    timed = column in (SECONDS, SPEED_UP) and line.cells.get(column) is not None
    return MARK if timed and timing is not None and not timing.get("quiet") else ""
