"""How single parts of a table are shown: headings, numbers with their decimals, intervals, arrows, marks."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from eval.records import BASELINE
from eval.tables.costs import COSTS
from eval.tables.spec import better

if TYPE_CHECKING:
    from eval.tables import Line
    from eval.tables.spec import TableSpec

_HEADINGS = {
    "model": "Method",
    "window_size": "Window size",
    "dest_token": "Dest. token",
    "destination": "Destination",
    "fid": "FID",
    "clip": "CLIP",
    "ssim": "SSIM",
    "s_per_im": "s/im",
    "kid": "KID x 1000",
    "kid_smoke": "kid_smoke x 1000",
    **{name: cost.heading for name, cost in COSTS.items()},
    "protocol": "Protocol",
    "status": "Status",
    "run_id": "Run",
}
_ENDINGS = {f"_minus_{BASELINE}": " - baseline", "_half": " at n/2", "_infinite": " at infinity"}
_SEEDS = "_over_seeds"  # a column shown for two of the CSV file: mean and standard deviation
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


def arrow(metric: str, spec: "TableSpec | None" = None) -> str:
    """Which values of a metric or a cost are better, as an arrow; "" where that is not known.

    spec: of the table, which knows it of further metrics.
    """
    known = better if spec is None else spec.better
    found = COSTS[metric].better if metric in COSTS else known(metric)
    return {"lower": LOWER, "higher": HIGHER}.get(found or "", "")


def number(column: str, value: float | None, sign: str = "") -> str:
    """A number of `column` as tables show it: two decimals as in the paper, three of our SSIM.

    SSIM is at most 1, and destinations differ in its third decimal. KID is multiplied by 1,000. 0 has no minus sign.
    """
    if value is None:
        return ""
    if column in COSTS:
        return COSTS[column].form.format(value)
    if column.startswith("kid"):
        value *= 1000
    return f"{value:{sign}z.{3 if column.startswith('ssim') else 2}f}"


def interval(column: str, low: float | None, high: float | None, sign: str = "") -> str:
    """A 95% interval in brackets; "" where there is none."""
    return "" if low is None or high is None else f"[{number(column, low, sign)}, {number(column, high, sign)}]"


def over_seeds(line: "Line", column: str) -> str:
    """Mean and standard deviation over the seeds, of a column that ends so; "" for any other."""
    if not column.endswith(_SEEDS):
        return ""
    name = column.removesuffix(_SEEDS)
    mean, sd = (number(name, line.cells[f"{name}_seed_{what}"]) for what in ("mean", "sd"))
    return f"{mean}{f' +- {sd}' if sd else ''} ({line.cells['seeds']})" if mean else ""


def mark(record: Mapping | None) -> str:
    """`MARK` where a row's time was not measured on an idle device, or not known to be."""
    timing = (record or {}).get("timing")
    return MARK if timing is not None and not timing.get("quiet") else ""
