"""The paper's claims about FID, computed from its own table and from ours."""

from typing import TYPE_CHECKING

from eval.tables.spec import TableRow, metric_name

if TYPE_CHECKING:
    from eval.tables import Table

OURS, BASELINES, METRIC = "retom", ("tomesd", "none"), "fid"


def claims(table: "Table") -> list[dict]:
    """For each of `BASELINES` in the table: how much lower the FID of ReToM is, in the paper and here.

    Each is {"metric", "against" (method), "model", "against_model" (labels), "paper": {...}, "ours": {...} | None,
    "why" (None, or why ours is None)}; the inner ones hold "ours", "base", "percent" (100 (base - ours) / base).
    Ours also has "difference" and "interval": the paired difference of FID, ours minus base, as the record gives it.
    [] for a table without these rows or without the paper's FID.
    """
    rows = {row.method: row for row in table.spec.rows if METRIC in row.paper}
    if OURS not in rows:
        return []
    return [_claim(table, rows[OURS], rows[base]) for base in BASELINES if base in rows]


def _claim(table: "Table", ours: TableRow, base: TableRow) -> dict:
    name = metric_name(METRIC, table.profile)
    numbers, why = _measured(table, name, base.method)
    return {
        "metric": name,
        "against": base.method,
        "model": table.spec.name_of(ours.method),
        "against_model": table.spec.name_of(base.method),
        "paper": _percent(ours.paper[METRIC], base.paper[METRIC]),
        "ours": numbers,
        "why": why,
    }


def _percent(ours: float, base: float) -> dict:
    # The FID of two equal sets is 0, and nothing is a share of 0.
    return {"ours": ours, "base": base, "percent": 100 * (base - ours) / base if base > 0 else None}


def _measured(table: "Table", name: str, base: str) -> tuple[dict | None, str | None]:
    lines = {method: table.line(method) for method in (OURS, base)}
    for method, line in lines.items():
        label = table.spec.name_of(method)
        if line.status in ("failed", "missing"):
            return None, f"the row of {label} is {line.status}"
        if line.cells[name] is None:
            return None, f"the row of {label} has no {name}"
    numbers = _percent(lines[OURS].cells[name], lines[base].cells[name])
    paired = lines[OURS].record["metrics"][name]["differences"].get(base, {})
    return numbers | {"difference": paired.get("value"), "interval": paired.get("interval")}, None


def in_words(claim: dict) -> str:
    """One claim as a line of Markdown: our percentage with the interval of the paired difference, and the paper's."""
    paper, ours = claim["paper"], claim["ours"]
    start = f"{claim['model']} against {claim['against_model']}:"
    theirs = f"in the paper FID is {_change(paper)} ({paper['base']:.2f} to {paper['ours']:.2f})"
    if ours is None:
        return f"{start} not measured, because {claim['why']}; {theirs}."
    name = "FID" if claim["metric"] == METRIC else claim["metric"]
    text = f"{start} here {name} is {_change(ours)} ({ours['base']:.2f} to {ours['ours']:.2f}"
    if ours["difference"] is not None:
        text += f", paired difference {ours['difference']:+.2f}"
    if ours["interval"] is not None:
        text += f" [{ours['interval'][0]:+.2f}, {ours['interval'][1]:+.2f}]"
    return f"{text}); {theirs}."


def _change(numbers: dict) -> str:
    if numbers["percent"] is None:
        return "without a percentage"
    return f"{abs(numbers['percent']):.1f}% {'lower' if numbers['percent'] >= 0 else 'higher'}"
