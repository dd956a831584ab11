"""What all figures share: paper size, style, colours, legend, and how a figure is saved and put into the page."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from eval import atomic
from eval.report.figures.letters import fit_letters
from eval.report.thumbnails import data_uri

COLUMN, PAGE = 3.4, 6.9  # inches: one column and both columns of a paper
TEXT = 8  # points, of every text of a figure printed at its own size
DPI = 300
STYLE = {
    "svg.hashsalt": "report",
    "pdf.fonttype": 42,  # fonts are embedded as TrueType
    "savefig.dpi": DPI,
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": TEXT,
    "ytick.labelsize": TEXT,
    "legend.fontsize": TEXT,
    "figure.titlesize": TEXT,
    "axes.linewidth": 0.5,
    "axes.edgecolor": "0.3",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "0.9",
    "grid.linewidth": 0.4,
    "xtick.major.width": 0.5,
    "ytick.major.width": 0.5,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 2.5,
    "xtick.minor.pad": 3.5,
    "lines.linewidth": 1.0,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.columnspacing": 1.2,
    "legend.labelspacing": 0.3,
}
ACCENT = "#D55E00"  # ReToM: vermilion of the Okabe-Ito palette
# The other methods: Paul Tol's muted palette without its two reds, which are near the accent.
MUTED = ("#332288", "#44AA99", "#AA4499", "#117733", "#88CCEE", "#999933", "#882255", "#DDCC77")
BUSY = "timed on a busy device"  # what the legend says of hollow points
CURVE_COLOURS = (ACCENT, *MUTED)
MARKERS = "sD^vP*X<>o"
_IN_CELL = 15  # lines of a legend that fit into a cell of the grid of panels
_LETTER, _KEY = 0.063, 0.42  # inches, about, of a letter and of the mark of a line of the legend with its margins
_ZOOM = 1.2  # in the page, 8 pt are 12.8 CSS pixels


@dataclass(frozen=True)
class Numbers:
    """The numbers of a figure as a table. The first cell of a row names it."""

    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Drawing:
    """A figure in the page: `uri` is a data URI, `alt` its caption and alternative text, `files` are saved next to it.

    numbers: the same as a table. origin: what it was measured in, by its name under "Provenance".
    size: width and height in the page, in CSS pixels.
    """

    name: str
    title: str
    uri: str
    alt: str
    files: tuple[Path, ...]
    numbers: Numbers | None = None
    origin: str | None = None
    size: tuple[int, int] | None = None


def panels(count: int, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of `count` panels of `height` inches: one as wide as a column of a paper, two next to each other."""
    columns = min(count, 2)
    rows = -(-count // columns)
    figure = Figure(figsize=(COLUMN if columns == 1 else PAGE, height * rows), layout="constrained", facecolor="white")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axis in axes[count:]:
        axis.axis("off")
    return figure, axes[:count]


def legend(figure: Figure, axes: Sequence[Axes]) -> None:
    """One legend for all panels, each label once: in the empty cell of the grid, or below; the figure grows by it."""
    marks = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            marks.setdefault(label, handle)
    if not marks:
        return
    width, height = figure.get_size_inches()
    room = int((width - _KEY) / _LETTER)
    names = [name if len(name) <= room else f"{name[: room - 1]}…" for name in marks]
    needed = _LETTER * max(map(len, names)) + _KEY
    empty = figure.axes[len(axes) :]
    if empty and len(marks) <= _IN_CELL and needed < COLUMN:
        empty[0].legend(list(marks.values()), names, loc="center left")
        return
    columns = max(1, min(len(marks), int(width / needed)))
    figure.legend(list(marks.values()), names, loc="outside lower center", ncols=columns)
    figure.set_size_inches(width, height + 0.16 * -(-len(marks) // columns))


def plain(text: str) -> str:
    """A label as it is: a dollar sign would start matplotlib's mathematics, a leading underscore would hide it."""
    return text.replace("$", r"\$").lstrip("_")


def errors(values: Sequence[float], intervals: Sequence[tuple[float, float] | None]) -> list[list[float]] | None:
    """Distances below and above. A bootstrap interval may not hold its value; a distance is never negative."""
    if not any(intervals):
        return None
    ends = [(value, value) if found is None else found for value, found in zip(values, intervals, strict=True)]
    below = [max(value - low, 0.0) for value, (low, _) in zip(values, ends, strict=True)]
    above = [max(high - value, 0.0) for value, (_, high) in zip(values, ends, strict=True)]
    return [below, above]


def drawing(figure: Figure, name: str, title: str, alt: str, folder: Path, *, raster: int = 0, **more) -> Drawing:
    """Save the figure into `folder` and return it for the page. raster: pixels per inch of WebP instead of SVG."""
    uri = raster_uri(figure, raster) if raster else svg_uri(figure)
    size = tuple(round(96 * _ZOOM * inches) for inches in figure.get_size_inches())
    return Drawing(name, title, uri, alt, save(figure, name, folder), size=size, **more)


def save(figure: Figure, name: str, folder: Path) -> tuple[Path, ...]:
    """Write `<name>.png` and `<name>.pdf` into `folder`, without dates; their paths."""
    fit_letters(figure)
    files = tuple(Path(folder) / f"{name}.{kind}" for kind in ("png", "pdf"))
    dates: Mapping[str, dict] = {"png": {}, "pdf": {"CreationDate": None}}
    for path in files:
        kind = path.suffix[1:]
        with atomic.replacing(path) as temporary:
            figure.savefig(temporary, format=kind, dpi=DPI, metadata=dates[kind])
    return files


def svg_uri(figure: Figure) -> str:
    """The figure as SVG inside a data URI, for lines and text."""
    fit_letters(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def raster_uri(figure: Figure, dpi: int) -> str:
    """The figure as WebP inside a data URI, for photographs, which SVG would hold uncompressed."""
    fit_letters(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return data_uri(Image.open(buffer).convert("RGB"))
