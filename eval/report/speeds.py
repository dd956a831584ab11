"""Tables of seconds measured with random weights (`python -m scripts.gpu`), one for each card and way of attention."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.bench.speed import COLUMNS, HEADINGS, cells, what
from eval.bench.stage_file import read_stage
from eval.bench.table import csv_of, origins
from eval.errors import RunError
from eval.report.tables_view import Cell, Row, View

PREFIX = "speed_"
WORDS = 4  # cells of a row that are no numbers


def speed_views(folder: Path, problems: list[str]) -> list[View]:
    """The tables of every speed_<card>.json in `folder`; what cannot be read becomes one of `problems`."""
    views = []
    for path in sorted(Path(folder).glob(f"{PREFIX}*.json")):
        try:
            rows = read_stage(path).rows
            attentions = dict.fromkeys(row["attention"] for row in rows)
            views += [_view(path, name, [row for row in rows if row["attention"] == name]) for name in attentions]
        except RunError as error:
            problems.append(str(error))
        except (KeyError, TypeError, ValueError) as error:
            problems.append(f"{path} is no table of seconds ({error}); make it again: python -m scripts.gpu")
    return views


def _view(path: Path, attention: str, rows: Sequence[dict[str, Any]]) -> View:
    header, *fields = csv.reader(io.StringIO(csv_of(COLUMNS, rows)))
    title = f"Seconds per image on {rows[0]['device_name']}, {attention}, random weights"
    notes = (
        what(rows[0]),
        f"{origins(rows)}.",
        *(f"{row['method']}: {row['error']}" for row in rows if row.get("error")),
    )
    shown = tuple(_row(row, field) for row, field in zip(rows, fields, strict=True))
    return View(f"{path.stem}_{attention}", title, HEADINGS, shown, tuple(header), notes)


def _row(row: dict[str, Any], fields: Sequence[str]) -> Row:
    texts = cells(row)
    values = dict(zip(HEADINGS, [None] * len(HEADINGS), strict=True))
    values |= {"s/im": row.get("s_per_im"), "n": row["n"], "Speed-up": row.get("speedup")}
    values |= {"s/im (paper)": row["paper_s_per_im"], "Speed-up (paper)": row["paper_speedup"]}
    shown = tuple(
        Cell(text, sort=values[name], number=WORDS <= place < len(HEADINGS) - 1)
        for place, (name, text) in enumerate(zip(HEADINGS, texts, strict=True))
    )
    return Row(shown, row["status"], None, tuple(fields))
