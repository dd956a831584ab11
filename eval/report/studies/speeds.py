"""Tables of seconds measured with random weights (`python -m scripts.gpu`), one for each card and way of attention."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.errors import RunError
from eval.report.tables_view import Heading, Row, View
from eval.speed.bench.speed import COLUMNS, HEADINGS, cells, what
from eval.speed.bench.stage_file import read_stage
from eval.speed.bench.table import csv_of, origins
from eval.tables.formats import HIGHER, LOWER
from eval.tables.grid import Cell

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
    title = f"Time per image on {rows[0]['device_name']}, {attention}, random weights"
    notes = (
        what(rows[0]),
        f"{origins(rows)}.",
        *(f"{row['method']}: {row['error']}" for row in rows if row.get("error")),
    )
    lines = [_cells(row) for row in rows]
    filled = [place for place in range(len(HEADINGS)) if any(cells[place].text for cells in lines)]
    shown = tuple(
        Row(tuple(cells[place] for place in filled), row["status"], None, tuple(field), row["method"])
        for row, cells, field in zip(rows, lines, fields, strict=True)
    )
    columns = tuple(_column(place) for place in filled)
    return View(f"{path.stem}_{attention}", title, columns, shown, tuple(header), notes)


def _column(place: int) -> Heading:
    name = HEADINGS[place]
    way = LOWER if name.startswith("s/im") else HIGHER if name.startswith("Speed-up") else ""
    return Heading(f"{name} {way}".strip(), number=WORDS <= place < len(HEADINGS) - 1, folded=name in ("n", "Status"))


def _cells(row: dict[str, Any]) -> list[Cell]:
    values = dict.fromkeys(HEADINGS)
    values |= {"s/im": row.get("s_per_im"), "n": row["n"], "Speed-up": row.get("speedup")}
    values |= {"s/im (paper)": row["paper_s_per_im"], "Speed-up (paper)": row["paper_speedup"]}
    return [Cell(text, value=values[name]) for name, text in zip(HEADINGS, cells(row), strict=True)]
