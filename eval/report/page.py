"""The page: one self-contained file."""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2

from eval import atomic
from eval.report.claims import Claims
from eval.report.figures import draw_all
from eval.report.gallery import Gallery, gallery
from eval.report.gather import Gathered
from eval.report.limits import IMAGES, LEAST, PAGE
from eval.report.provenance import origins, study_origins
from eval.report.studies.found import Studies, draw_studies
from eval.report.summary import summary
from eval.report.tables_view import view

HERE = Path(__file__).parent
FIGURES = "figures"


def folder_of(results: Path, profile: str) -> Path:
    """The folder of a profile's page, with the tables and measurements; the figures are below it."""
    return Path(results) / ("" if profile == "real" else profile)


def write_report(
    gathered: Gathered,
    folder: Path,
    *,
    title: str,
    studies: Studies | None = None,
    claims: Claims | None = None,
    choice: str = "",
) -> Path:
    """Write `<folder>/report.html` and the figures into `<folder>/figures/`; the page's path.

    Whatever the records lack is reported on the page. studies: what was measured next to the runs. claims: the paper's,
    with their verdicts. choice: the command line's choice of an experiment, for the commands that the page names.
    """
    folder, studies = Path(folder), studies or Studies()
    views = [*(view(table) for table in gathered.tables), *studies.speeds]
    names = {} if gathered.overview is None else gathered.overview.spec.names
    parts = {
        "title": title,
        "made": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "gathered": gathered,
        "views": views,
        "claims": claims,
        "summary": summary(gathered, claims, choice),
        "exports": {
            shown.name: {"header": shown.csv_header, "rows": [row.csv for row in shown.rows]} for shown in views
        },
        "drawings": [*draw_all(gathered, folder / FIGURES), *draw_studies(studies, folder / FIGURES, names)],
        "problems": (*gathered.problems, *studies.problems),
        "notes": (*gathered.notes, *studies.notes),
        "figures": FIGURES,
        "origins": [*origins(gathered), *study_origins(studies)],
        "style": (HERE / "report.css").read_text(encoding="utf-8"),
        "script": (HERE / "report.js").read_text(encoding="utf-8"),
    }
    page = _filled(parts, gathered)
    path = folder / "report.html"
    atomic.clear(folder)
    atomic.write_text(path, page)
    return path


def _filled(parts: Mapping[str, Any], gathered: Gathered) -> str:
    """The page, with as many images as it still has room for."""
    template = _template()
    without = template.render(**parts, gallery=Gallery((), (), 0, 0, ()))
    left = PAGE - len(without.encode())
    return template.render(**parts, gallery=gallery(gathered, budget=max(LEAST, min(IMAGES, left))))


def _template() -> jinja2.Template:
    """Everything put into the template is escaped, in text, attributes and data alike (`tojson` escapes tags)."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("template.html.j2")
