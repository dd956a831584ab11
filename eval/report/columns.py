"""The columns of a table on the page: groups, headings, which are folded, and how their numbers are written."""

from dataclasses import dataclass

from eval.judging.gates import BASELINE
from eval.tables import Table
from eval.tables.columns import HIGHER, LOWER, heading, number
from eval.tables.columns import arrow as metric_arrow
from eval.tables.costs import SPEED_UP, TOKENS_KEPT
from eval.tables.spec import SECONDS, UNPAIRED

OURS, PAPER, CHANGE = "Ours", "Paper", "Difference to baseline"
INFINITE = "n\N{NO-BREAK SPACE}=\N{NO-BREAK SPACE}∞"


@dataclass(frozen=True)
class Column:
    """A column. `group`: the heading over it; number: set to the right; folded: behind the switch "All columns"."""

    heading: str
    group: str = ""
    number: bool = True
    folded: bool = False


def rounded(column: str, value: float | None, sign: str = "") -> str:
    """A number as in the tables' files, with a true minus sign, none at 0, and a multiplication sign."""
    text = number(column, value, sign and f"{sign}z")
    return text.replace("-", "\N{MINUS SIGN}").replace("x", "\N{MULTIPLICATION SIGN}")


def interval(column: str, low: float | None, high: float | None, sign: str = "") -> str:
    """A 95% interval in brackets; "" without one."""
    return "" if low is None or high is None else f"[{rounded(column, low, sign)}, {rounded(column, high, sign)}]"


def arrow(column: str) -> str:
    """Which way a column's numbers are better: an arrow, or "" where that is not known."""
    return HIGHER if column == SPEED_UP else metric_arrow(column)


def change(column: str, low: float | None, high: float | None) -> str:
    """ "better" or "worse" where the interval of a difference in `column` excludes 0, else ""."""
    if low is None or high is None or low <= 0 <= high or not arrow(column):
        return ""
    return "better" if (high < 0) == (arrow(column) == LOWER) else "worse"


def names_of(table: Table) -> dict[str, tuple[str, bool]]:
    """The columns in order: (group, folded) by name; those behind the switch come last."""
    metrics, has_seconds = table.metrics, SECONDS in table.metrics
    paired = [f"{name}_minus_{BASELINE}" for name in metrics if name not in UNPAIRED]
    costs = [SPEED_UP, TOKENS_KEPT] if has_seconds else []
    found = dict.fromkeys(table.spec.labels, ("", False))
    found |= dict.fromkeys([*metrics, *costs], (OURS, False))
    found |= dict.fromkeys([f"paper_{metric}" for metric in table.spec.metrics], (PAPER, False))
    found |= dict.fromkeys(paired, (CHANGE, False))
    for name in table.beside:
        found |= dict.fromkeys([name, f"{name}_minus_{BASELINE}"], (heading(name), True))
    for name in metrics:
        ends = [f"{name}{end}" for end in ("_half", "_infinite", f"_infinite_minus_{BASELINE}")]
        found |= dict.fromkeys([each for each in ends if each in table.columns], (f"{heading(name)} by n", True))
    seeds = [f"{name}_over_seeds" for name in [*metrics, *paired]] if table.seeds else []
    found |= dict.fromkeys(seeds, ("Over seeds", True))
    facts = ["n", "protocol", "status", "run_id"] if has_seconds else [TOKENS_KEPT, "n", "protocol", "status", "run_id"]
    return found | dict.fromkeys(facts, ("Run", True))


def column_of(table: Table, name: str, group: str, folded: bool) -> Column:
    """One of the columns of `names_of`, with an arrow where it is known which way its numbers are better."""
    words = {"protocol": "Protocol", "status": "Status", "run_id": "Run"}
    number = name not in (*table.spec.labels, "protocol", "status", "run_id")
    base = name.removesuffix(f"_minus_{BASELINE}").removeprefix("paper_")
    if name in table.beside or base in table.beside:
        shown = "Value" if base == name else "Difference"
    elif name.endswith("_half"):
        shown = "n/2"
    elif base.endswith("_infinite"):
        shown = INFINITE if base == name else f"Difference, {INFINITE}"
    elif name.endswith("_over_seeds"):
        shown = heading(name.removesuffix("_over_seeds"))
    else:
        shown = words.get(name) or heading(base)
    return Column("\N{NO-BREAK SPACE}".join(filter(None, (shown, arrow(base)))), group, number, folded)
