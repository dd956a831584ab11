"""Time per image of the paper's rows, measured with random weights: a separate table next to Tables I and II.

Time does not depend on weights; images and scores do. This table therefore has no quality column, and none of its
numbers enters Tables I and II, whose times are those of the runs that generated the scored images.
"""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.atomic import write_json, write_text
from eval.metrics.stats import median_interval
from eval.records import BASELINE
from eval.speed.bench.table import PROVENANCE, attention_notes, csv_of, origins, with_facts

SECONDS = "s_per_im"
LABELS = ("model", "window_size", "dest_token", "destination")
INTERVALS = tuple(f"{name}{end}" for name in (SECONDS, "speedup") for end in ("_low", "_high"))
WAY = ("architecture", "pixels", "steps", "dtype", "batch", "ratio", "attention", "method", "backend")
STATE = ("attention_kernel", "n", "status", "error", "load_average", "other_gpu_processes")
COLUMNS = (*LABELS, SECONDS, "paper_s_per_im", "speedup", "paper_speedup", "s_per_im_estimate", *INTERVALS,
           *WAY, *STATE, *PROVENANCE)  # fmt: skip
Row = Mapping[str, Any]

HEADINGS = ("Model", "Window size", "Dest. token", "Backend", "s/im", "n", "Speed-up", "s/im (paper)",
             "Speed-up (paper)", "Status")  # fmt: skip


def merged_tables(tables: Iterable[Sequence[Row]]) -> list[dict[str, Any]]:
    """The rows of several tables of the paper, one per method in order of appearance, with all labels and values.

    A row has `method`, its labels, and `paper` with the paper's values by metric.
    """
    found: dict[str, dict[str, Any]] = {}
    for row in (row for table in tables for row in table):
        before = found.get(row["method"], {})
        paper = {**before.get("paper", {}), **(row.get("paper") or {})}
        found[row["method"]] = {**row, **before, "paper": paper}
    return list(found.values())


def speed_rows(paper: Sequence[Row], measured: Iterable[Row], methods: Mapping[str, str]) -> list[dict[str, Any]]:
    """The rows of the bench as rows of this table: in the paper's order, other attention implementations after SDPA.

    paper: of `merged_tables`. methods: the paper's method by the bench's name; a method may have several backends.
    """
    order = {row["method"]: place for place, row in enumerate(paper)}
    measured = [row for row in measured if row["method"] in methods]
    attentions = list(dict.fromkeys(row["attention"] for row in measured))
    measured.sort(key=lambda row: (attentions.index(row["attention"]), order[methods[row["method"]]]))
    baseline = {row["attention"]: row for row in measured if row["method"] == BASELINE and row["status"] == "ok"}
    values = {row["method"]: row["paper"].get(SECONDS) for row in paper}
    return [_row(row, paper[order[methods[row["method"]]]], baseline.get(row["attention"]), values) for row in measured]


def _row(row: Row, paper: Row, baseline: Row | None, values: Mapping[str, float | None]) -> dict[str, Any]:
    """A row of the bench with the paper's labels and values. Derived columns that exist are computed again."""
    theirs, unmerged = values[paper["method"]], values.get(BASELINE)
    row = {**row, "architecture": row.get("architecture", row["model"])}
    row |= {label: paper.get(label) or None for label in LABELS}
    row |= {"paper_s_per_im": theirs, "paper_speedup": unmerged / theirs if unmerged and theirs else None}
    row |= {"n": len(row["samples"])}
    if row["status"] != "ok":
        return row
    row |= _estimate(SECONDS, statistics.median(row["samples"]), row["samples"])
    if baseline is not None:
        speedup = statistics.median(baseline["samples"]) / row[SECONDS]
        row |= _estimate("speedup", speedup, _by_round(baseline["samples"], row["samples"]))
    return row


def _estimate(name: str, value: float, samples: Sequence[float]) -> dict[str, float | None]:
    low, high = median_interval(samples) or (None, None)
    return {name: value, f"{name}_low": low, f"{name}_high": high}


def _by_round(first: Sequence[float], second: Sequence[float]) -> list[float]:
    """Ratios round by round; empty if the two were not timed in the same rounds."""
    return list(np.divide(first, second)) if len(first) == len(second) else []


def write_speed(
    folder: Path, name: str, rows: Sequence[Row], provenance: Mapping, config: Mapping, stage: Mapping
) -> list[Path]:
    """Write speed_<name>.csv, .json (with every raw value) and .md into `folder` and return their paths."""
    stem = folder / f"speed_{name}"
    rows = with_facts(rows, provenance)
    paths = [stem.with_suffix(end) for end in (".csv", ".json", ".md")]
    write_text(paths[0], csv_of(COLUMNS, rows))
    write_json(paths[1], {"provenance": provenance, "config": config, "stage": stage, "rows": rows})
    write_text(paths[2], render(rows, stage["notes"]))
    return paths


def render(rows: Sequence[Row], notes: Iterable[str] = ()) -> str:
    """The page: one table per attention implementation, then missing rows and what the numbers are."""
    first = rows[0]
    parts = [f"# Seconds per image on {first['device_name']}"]
    for attention in dict.fromkeys(row["attention"] for row in rows):
        rule = ["---"] * 4 + ["---:"] * 5 + ["---"]
        lines = [HEADINGS, rule, *(cells(row) for row in rows if row["attention"] == attention)]
        parts += [f"## {attention}", "\n".join("| " + " | ".join(line) + " |" for line in lines)]
        parts += attention_notes([row for row in rows if row["attention"] == attention])
    why = [f"- {row['method']} ({row['attention']}): {row['error']}" for row in rows if row.get("error")]
    parts += ["\n".join(why)] if why else []
    parts += ["\n".join(f"- {note}" for note in notes)] if notes else []
    parts.append(f"{what(first)} {origins(rows)}. Every column: results/README.md.")
    return "\n\n".join(parts) + "\n"


def what(row: Row) -> str:
    """What the numbers of this table are, and what they are not."""
    return (
        f"{row['architecture']} with random weights, {row['pixels']} px, {row['steps']} steps, {row['dtype']}, batch "
        f"{row['batch']}: complete pipeline calls after warm-up, all rows in turn in one process, planning included. "
        "Time does not depend on weights; the images cannot be scored, so there is no quality column. Speed-up is "
        "relative to the baseline in the same rounds; brackets are 95% intervals."
    )


def cells(row: Row) -> list[str]:
    """A row of the page as text, in the order of its headings."""
    token = row.get("dest_token") or row.get("destination") or ""
    estimate = row.get("s_per_im_estimate")
    seconds = f"about {estimate:.3g} (from one call)" if estimate else _bracketed(row, SECONDS, ".3f")
    texts = [row["model"] or "", row.get("window_size") or "", token, row["backend"] or "", seconds]
    texts += [str(row["n"] or ""), _bracketed(row, "speedup", ".2f"), _number(row["paper_s_per_im"], ".2f")]
    texts += [_number(row["paper_speedup"], ".2f"), row["status"]]
    return [text.replace("|", "\\|") for text in texts]


def _bracketed(row: Row, name: str, form: str) -> str:
    text, low, high = (_number(row.get(f"{name}{end}"), form) for end in ("", "_low", "_high"))
    return f"{text} [{low}, {high}]" if low and high else text


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
