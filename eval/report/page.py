"""The page itself: everything into one file that needs nothing beside it."""

from datetime import UTC, datetime
from pathlib import Path

import jinja2

from eval import atomic
from eval.report.figures import draw_all
from eval.report.gallery import gallery
from eval.report.gather import Gathered
from eval.report.provenance import origins
from eval.report.tables_view import view

HERE = Path(__file__).parent
FIGURES = "figures"


def write_report(gathered: Gathered, folder: Path, *, title: str) -> Path:
    """Write `<folder>/report.html` and the figures into `<folder>/figures/`; the page's path.

    Whatever the records lack is said on the page.
    """
    folder = Path(folder)
    views = [view(table) for table in gathered.tables]
    page = _template().render(
        title=title,
        made=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        gathered=gathered,
        views=views,
        exports={shown.name: {"header": shown.csv_header, "rows": [row.csv for row in shown.rows]} for shown in views},
        drawings=draw_all(gathered, folder / FIGURES),
        figures=FIGURES,
        gallery=gallery(gathered),
        origins=origins(gathered),
        style=(HERE / "report.css").read_text(encoding="utf-8"),
        script=(HERE / "report.js").read_text(encoding="utf-8"),
    )
    path = folder / "report.html"
    atomic.write_text(path, page)
    return path


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
