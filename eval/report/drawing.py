"""What all figures share: their style, panels and legend, and how one is kept as files and inside the page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from eval import atomic
from eval.report.letters import fit_letters
from eval.report.thumbnails import data_uri

STYLE = {"svg.hashsalt": "report", "font.size": 9, "axes.grid": True, "grid.alpha": 0.3, "pdf.fonttype": 42}
MARKERS = "osD^vP*X<>"
PANEL = (5.2, 4.0)  # inches
_DPI = 160


@dataclass(frozen=True)
class Numbers:
    """What a figure shows, as a table for those who read it: the first cell of a row names it."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Drawing:
    """A figure in the page: `uri` holds it as a data URI, `alt` says it in words, `files` lie beside the page.

    numbers: the same as a table. origin: what it was measured in, by the name it has under "Provenance".
    """

    name: str
    title: str
    uri: str
    alt: str
    files: tuple[Path, ...]
    numbers: Numbers | None = None
    origin: str | None = None


def panels(count: int) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels side by side, with room for a legend below."""
    figure = Figure(figsize=(PANEL[0] * count, PANEL[1] + 0.6), layout="constrained", facecolor="white")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels: each label once."""
    marks = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            marks.setdefault(label, handle)
    labels = list(marks)
    figure.legend(list(marks.values()), labels, loc="outside lower center", ncols=min(len(labels), 5), frameon=False)


def plain(text: str) -> str:
    """A label as it is: a dollar sign would start matplotlib's mathematics, a leading underscore would hide it."""
    return text.replace("$", r"\$").lstrip("_")


def keep(figure: Figure, name: str, folder: Path) -> tuple[Path, ...]:
    """Write `<name>.png` and `<name>.pdf` into `folder`, without dates in them; their paths."""
    fit_letters(figure)
    files = tuple(Path(folder) / f"{name}.{kind}" for kind in ("png", "pdf"))
    dates: Mapping[str, dict] = {"png": {}, "pdf": {"CreationDate": None}}
    for path in files:
        kind = path.suffix[1:]
        with atomic.replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=_DPI, metadata=dates[kind])
    return files


def svg_uri(figure: Figure) -> str:
    """The figure as SVG inside a data URI, for lines and text."""
    fit_letters(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def raster_uri(figure: Figure, dpi: int) -> str:
    """The figure as WebP inside a data URI, for photographs: as SVG every one of them would be there uncompressed."""
    fit_letters(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return data_uri(Image.open(buffer).convert("RGB"))
