"""The bench's rows as CSV, as JSON with every raw value, and as a Markdown page."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.atomic import write_json, write_text

PLACE = ("level", "model", "pixels", "steps", "tokens", "channels", "heads")
WAY = ("attention", "mode", "dtype", "batch", "ratio")
METHOD = ("method", "window", "period", "backend", "status")
RATIOS = tuple(f"to_{other}{end}" for other in ("none", "oracle", "tomesd") for end in ("", "_iqr"))
TIMES = ("seconds", "iqr", "fastest", "calls", "s_per_im", "images_per_s", "planning_share")
MERGES = ("merged", "sites_merging", "sites")
COSTS = ("peak_bytes", "peak_to_input", "merging_to_input", "launches_planning", "launches_reusing")
COMPILED = ("graphs", "graph_breaks", "recompiled")
ATTENTION = ("attention_kernel",)
AROUND = ("load_average", "other_gpu_processes", "error")
PROVENANCE = ("date", "commit", "dirty", "torch", "diffusers", "device_name", "threads")
COLUMNS = (*PLACE, *WAY, *METHOD, *RATIOS, *TIMES, *MERGES, *COSTS, *COMPILED, *ATTENTION, *AROUND, *PROVENANCE)

_SHOWN = {
    "method": "Method",
    "seconds": "ms per call",
    "iqr": "IQR",
    "to_none": "to none",
    "to_oracle": "to oracle",
    "to_tomesd": "to tomesd",
    "planning_share": "planning",
    "merged": "tokens left",
    "sites_merging": "sites",
    "peak_bytes": "peak MB",
    "peak_to_input": "peak / input",
    "merging_to_input": "merging / input",
    "launches_planning": "launches, planning",
    "launches_reusing": "launches, reusing",
    "graphs": "graphs",
    "graph_breaks": "breaks",
    "recompiled": "recompiled",
    "images_per_s": "images/s",
    "s_per_im": "s/im",
    "status": "status",
}
_ALWAYS = ("method", "seconds", "iqr", "to_none", "to_oracle", "to_tomesd", "status")


def facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The columns that every row takes from `eval.provenance.collect`."""
    packages, git = provenance["packages"], provenance["git"]
    gpu = provenance["device"]["gpu"]
    return {
        "date": provenance["date"],
        "commit": git["sha"],
        "dirty": git["dirty"],
        "torch": packages["torch"]["version"],
        "diffusers": packages["diffusers"]["version"],
        "device_name": gpu["name"] if gpu else provenance["cpu"]["model"],
        "threads": provenance["torch"]["threads"],
    }


def with_facts(rows: Iterable[Mapping[str, Any]], provenance: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows with the columns of `facts`, except rows that have those of an earlier run."""
    return [dict(row) if row.get("date") else {**row, **facts(provenance)} for row in rows]


def write_bench(
    folder: Path,
    name: str,
    rows: Sequence[Mapping[str, Any]],
    provenance: Mapping,
    config: Mapping,
    stage: Mapping[str, Any] | None = None,
) -> list[Path]:
    """Write bench_<name>.csv, .json and .md into `folder` and return their paths.

    rows: values by column, with `title` (the cell's) and `samples` (raw seconds in the order of the calls). Rows of an
    earlier run have their own provenance. stage: see `eval.speed.bench.stage_file`, from which a later run resumes.
    """
    stem = folder / f"bench_{name}"
    rows = with_facts(rows, provenance)
    paths = [stem.with_suffix(end) for end in (".csv", ".json", ".md")]
    write_text(paths[0], csv_of(COLUMNS, rows))
    more = {"stage": stage} if stage else {}
    write_json(paths[1], {"provenance": provenance, "config": config, **more, "rows": rows})
    write_text(paths[2], render(rows))
    return paths


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """One table per cell, then the notes needed to read them."""
    first = rows[0]
    parts = [f"# Bench on {first['device_name']}"]
    for title in dict.fromkeys(row["title"] for row in rows):
        cell = [row for row in rows if row["title"] == title]
        parts += [f"## {title}", _table(cell), *_errors(cell), *attention_notes(cell)]
    parts += _best_batches(rows)
    parts.append(
        f"{origins(rows)}. "
        "Methods of a cell take turns in one process, in a new order every round. A time is the mean over a period of "
        "the median at each position in it, so that planning counts as often as it happens. IQR is that of all calls. "
        "Compare ratios within a cell only. Every column: results/README.md."
    )
    return "\n\n".join(parts) + "\n"


def origins(rows: Iterable[Mapping[str, Any]]) -> str:
    """Date, commit and versions with which the rows were measured, once for each distinct combination."""
    return "; ".join(dict.fromkeys(_origin(row) for row in rows))


def _origin(row: Mapping[str, Any]) -> str:
    code = "unknown commit" if row["commit"] is None else row["commit"][:12]
    code += " with changes" if row["dirty"] else ""
    return f"{row['date']}, {code}, torch {row['torch']}, diffusers {row['diffusers']}, {row['threads']} threads"


def csv_of(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as the text of a CSV file, at full precision."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _table(cell: Sequence[Mapping[str, Any]]) -> str:
    columns = [name for name in _SHOWN if name in _ALWAYS or any(row.get(name) is not None for row in cell)]
    rule = ["---" if name in ("method", "status") else "---:" for name in columns]
    body = [[_text(name, row.get(name), row) for name in columns] for row in cell]
    return "\n".join("| " + " | ".join(line) + " |" for line in [[_SHOWN[name] for name in columns], rule, *body])


def _text(name: str, value: Any, row: Mapping[str, Any]) -> str:
    if value is None:
        return ""
    if name in ("seconds", "iqr"):
        return f"{1000 * value:.4g}"
    if name == "peak_bytes":
        return f"{value / 1e6:.1f}"
    if name == "planning_share":
        return f"{100 * value:.1f}%"
    if name == "sites_merging":
        return f"{value}/{row['sites']}"
    return f"{value:.3f}" if isinstance(value, float) else str(value).replace("|", "\\|")


def _errors(cell: Sequence[Mapping[str, Any]]) -> list[str]:
    words = {"failed": " failed", "missing": ""}
    failed = [f"- {row['method']}{words[row['status']]}: {row['error']}" for row in cell if row["status"] in words]
    busy = [f"- {row['method']}: {row['other_gpu_processes']} other processes on the GPU"
            for row in cell if row.get("other_gpu_processes")]  # fmt: skip
    return ["\n".join([*failed, *busy])] if failed or busy else []


def attention_notes(cell: Sequence[Mapping[str, Any]]) -> list[str]:
    """The attention kernels of a cell, with a warning if its rows ran different ones."""
    ran: dict[str, list[str]] = {}
    for row in cell:
        if row.get("attention_kernel"):
            ran.setdefault(row["attention_kernel"], []).append(row["method"])
    if len(ran) > 1:
        each = "; ".join(f"{', '.join(methods)}: {kernels}" for kernels, methods in ran.items())
        return [f"**Attention kernels differ, so ratios do not show merging alone.** {each}."]
    return [f"Attention: {kernels}." for kernels in ran]


def _best_batches(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """For pipelines: time per image at batch 1, and images per second at the best batch."""
    complete = [row for row in rows if row["level"] == "pipeline" and row["status"] == "ok"]
    if not complete:
        return []
    lines = ["| Pipeline | Method | s/im at batch 1 | images/s | at batch |", "| --- | --- | ---: | ---: | ---: |"]
    same = [*PLACE, *(name for name in WAY if name != "batch"), "method"]
    groups: dict[tuple, list] = {}
    for row in complete:
        groups.setdefault(tuple(row[name] for name in same), []).append(row)
    for group in groups.values():
        best = max(group, key=lambda row: row["images_per_s"])
        single = next((f"{row['s_per_im']:.3f}" for row in group if row["batch"] == 1), "")
        where = group[0]["title"].replace(f", batch {group[0]['batch']}", "")
        lines.append(f"| {where} | {best['method']} | {single} | {best['images_per_s']:.3f} | {best['batch']} |")
    return ["## Whole images", "\n".join(lines)]
