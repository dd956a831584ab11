"""Summary page of one GPU, gpu_<card>.md: the status of each stage, the targets, and every row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.atomic import write_json, write_text
from eval.speed.bench.lines import Line, check_lines
from eval.speed.bench.table import PROVENANCE, csv_of, origins

COLUMNS = ("stage", "cell", "method", "backend", "seconds", "to_none", "to_oracle", "to_tomesd",
           "attention_kernel", "status", "error", *PROVENANCE)  # fmt: skip
Row = Mapping[str, Any]
_SHORT = {"float16": "fp16", "bfloat16": "bf16", "float32": "fp32", "reduce-overhead": "graphs", "default": "compiled"}
WIDTH = 100


@dataclass(frozen=True)
class Stage:
    """One stage, read from its file. seconds: its duration in this run, None if it did not run.

    error: why its process ended early; cut: because its time was up, which is not a failure. files: written by the
    stage.
    """

    name: str
    rows: tuple[Row, ...] = ()
    notes: tuple[str, ...] = ()
    seconds: float | None = None
    error: str | None = None
    cut: bool = False
    files: tuple[str, ...] = ()

    def count(self, status: str) -> int:
        """Number of its rows with this status."""
        return sum(row["status"] == status for row in self.rows)

    @property
    def failed(self) -> bool:
        """Whether the stage or one of its rows failed."""
        return (self.error is not None and not self.cut) or self.count("failed") > 0

    @property
    def state(self) -> str:
        """How it ended, in words."""
        counts = {status: self.count(status) for status in ("ok", "failed", "missing", "skipped")}
        words = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
        ended = self.error and f"{'cut off' if self.cut else 'failed'}: {self.error}"
        return "; ".join(filter(None, [ended, words or "nothing measured"]))


@dataclass(frozen=True)
class Overview:
    """All measurements of a card. `name` is the card's name in file names."""

    name: str
    device: str
    stages: tuple[Stage, ...]
    minutes: float
    lines: tuple[Line, ...] = field(init=False)

    def __post_init__(self) -> None:
        benches = [row for stage in self.stages for row in stage.rows if "level" in row]
        object.__setattr__(self, "lines", tuple(check_lines(benches)))

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every timed row of every stage, in the columns of the CSV file."""
        return [_row(stage.name, row) for stage in self.stages for row in stage.rows if "level" in row]


def _row(stage: str, row: Row) -> dict[str, Any]:
    ratios = {name: row.get(name) for name in ("to_none", "to_oracle", "to_tomesd")}
    if stage == "seconds":  # one row per cell, in s per image: relative to the baseline row of the table
        ratios = dict.fromkeys(ratios) | {"to_none": 1 / row["speedup"] if row.get("speedup") else None}
    seconds = row.get("s_per_im") if stage == "seconds" else row.get("seconds")
    own = {name: row.get(name) for name in ("method", "backend", "status", "error", *PROVENANCE)}
    return {"stage": stage, "cell": _cell(row), **own, "seconds": seconds, **ratios}


def _cell(row: Row) -> str:
    """A short description of a cell: sd15 512 px b2 fp16, naive, graphs."""
    where = f"N={row['tokens']} C={row['channels']}" if row["level"] == "site" else (
        f"{row.get('architecture', row['model'])} {row['pixels']} px")  # fmt: skip
    ways = [row["attention"] if row["attention"] != "sdpa" else "", row["mode"] if row["mode"] != "eager" else ""]
    ways += [f"R={row['ratio']:g}" if row["ratio"] != 0.5 else "", "image" if row["level"] == "pipeline" else ""]
    words = [f"{where} b{row['batch']} {_SHORT[row['dtype']]}", *filter(None, ways)]
    return ", ".join(_SHORT.get(word, word) for word in words)


def write_overview(folder: Path, overview: Overview, provenance: Mapping, config: Mapping) -> list[Path]:
    """Write gpu_<card>.csv, .json and .md into `folder` and return their paths."""
    paths = [folder / f"gpu_{overview.name}{end}" for end in (".csv", ".json", ".md")]
    rows = overview.rows
    write_text(paths[0], csv_of(COLUMNS, rows))
    stages = [{"name": stage.name, "state": stage.state, "seconds": stage.seconds, "notes": list(stage.notes),
               "files": list(stage.files)} for stage in overview.stages]  # fmt: skip
    lines = [{**vars(line), "status": line.status} for line in overview.lines]
    whole = {"provenance": provenance, "config": config, "stages": stages, "lines": lines, "rows": rows}
    write_json(paths[1], whole)
    write_text(paths[2], markdown(overview))
    return paths


def markdown(overview: Overview) -> str:
    """The page as Markdown."""
    parts = [f"# {overview.device} in {overview.minutes:g} minutes", "## Lines", _bars(_line_cells(overview.lines))]
    stages = [["Stage", "Seconds of this run", "Rows", "Files"]]
    stages += [[stage.name, "" if stage.seconds is None else f"{stage.seconds:.0f}", stage.state,
                ", ".join(stage.files)] for stage in overview.stages]  # fmt: skip
    parts += ["## Stages", _bars(stages)]
    notes = [f"- {stage.name}: {note}" for stage in overview.stages for note in (*stage.notes, *_reasons(stage))]
    parts += ["\n".join(notes)] if notes else []
    header = ["Stage", "Cell", "Method", "ms", "to none", "to oracle", "to tomesd", "Status"]
    body = [[row["stage"], row["cell"], row["method"], *_numbers(row), row["status"]] for row in overview.rows]
    if body:
        parts += ["## Rows", _bars([header, *body]), f"{origins(overview.rows)}. Every column: results/README.md."]
    return "\n\n".join(parts) + "\n"


def terminal(overview: Overview) -> str:
    """The page as text for a terminal, at most `WIDTH` columns wide."""
    body = [[row["stage"], row["cell"], row["method"],
             *(_numbers(row) if row["status"] == "ok" else [row["status"], "", "", ""])]
            for row in overview.rows]  # fmt: skip
    rows = [("stage", "cell", "method", "ms", "to none", "oracle", "tomesd"), *body]
    stages = [[stage.name, stage.state] for stage in overview.stages]
    lines = [[cells[3], *cells[:3], f"in {cells[5]}" if cells[5] else ""] for cells in _line_cells(overview.lines)[1:]]
    tables = ((rows, (9, 33, 22, 8, 8, 7, 7), 3), (stages, (9, 90), 2), (lines, (12, 46, 5, 12, 21), 5))
    return "\n\n".join("\n".join(_columns(cells, *form) for cells in table) for table, *form in tables)


def _columns(cells: Sequence[str], widths: Sequence[int], left: int) -> str:
    """One line with cells truncated and padded to `widths`, the first `left` of them left-aligned."""
    padded = [cell[:width].ljust(width) if place < left else cell[:width].rjust(width)
              for place, (cell, width) in enumerate(zip(cells, widths, strict=True))]  # fmt: skip
    return " ".join(padded).rstrip()


def _line_cells(lines: Iterable[Line]) -> list[list[str]]:
    header = ["Line", "At most", "Worst", "Status", "Cells", "In"]
    body = [[line.what, f"{line.wanted:.3g}", "" if line.worst is None else f"{line.worst:.3f}", line.status,
             str(line.cells), line.where] for line in lines]  # fmt: skip
    return [header, *body]


def _reasons(stage: Stage) -> list[str]:
    """Why rows are missing: each reason once, with its rows."""
    found: dict[str, list[str]] = {}
    for row in stage.rows:
        if row["status"] in ("failed", "missing", "skipped") and row.get("error"):
            found.setdefault(row["error"], []).append(
                _cell(row) + " " + row["method"] if "level" in row else row["title"]
            )
    return [f"{', '.join(names) if len(names) < 4 else f'{len(names)} rows, first {names[0]}'}: {why}"
            for why, names in found.items()]  # fmt: skip


def _numbers(row: Row) -> list[str]:
    ratios = ["" if row[name] is None else f"{row[name]:.3f}" for name in ("to_none", "to_oracle", "to_tomesd")]
    return ["" if row["seconds"] is None else f"{1000 * row['seconds']:.4g}", *ratios]


def _bars(lines: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * len(lines[0])
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in [lines[0], rule, *lines[1:]]
    )
