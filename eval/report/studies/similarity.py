"""Figure 3: cosine similarity inside one window of every layer over steps, and what became of the tokens."""

import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from PIL import Image

from eval.report.figures.drawing import COLUMN, PAGE, STYLE, Drawing, Numbers, drawing, plain
from eval.report.gallery import spread
from eval.report.studies.recording import DESTINATION, MERGED, PREFIX, Call, Panel, Recording

MAX_COLUMNS = 16  # as many as Stable Diffusion 1.5 has sites; of more, as many spread evenly
SIDE = 256  # pixels of an image under a map, about
# The range of a cosine, the same in every panel of every figure: colours of two figures can be compared, 0 is white,
# and the tokens of a window that point away from each other, as in the middle layers, are not cut off.
SCALE = Normalize(-1, 1)
COLOURS = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.8")  # bad: the diagonal
_DPI = 200  # of the maps in the page
_LEFT, _RIGHT, _BELOW = 0.7, 0.6, 0.2  # inches for the names of rows, the colour bar, and the mean below a map
_LETTER = 0.07  # inches, about, of a digit
_TALLEST = 1.2  # inches of a panel at most
_CROWDED = 0.5  # inches of a panel: below, headings that repeat those to the left are left out
# Distinguishable by lightness as well as by hue.
_COLOURS = {DESTINATION: (255, 196, 0), MERGED: (16, 42, 92)}
_OPACITY = {DESTINATION: 0.75, MERGED: 0.6}
_FRAME = "#FF006E"
_ABOVE = {"ha": "center"}
_ASIDE = {"ha": "right", "color": "0.4"}  # names of lines, left of the first panel
Group = list[Call]


def draw_recording(recording: Recording, folder: Path, label: str | None = None) -> list[Drawing]:
    """Both figures of a recording, written into `folder`. label: the method's name in titles, its key by default."""
    with matplotlib.rc_context({**STYLE, "axes.grid": False, "axes.spines.top": True, "axes.spines.right": True}):
        return [_heat_maps(recording, folder, label), _maps(recording, folder, label)]


def _heat_maps(recording: Recording, folder: Path, label: str | None) -> Drawing:
    sites = _fitting(recording, recording.sites, _RIGHT)
    groups = recording.distinct("similarity", sites)
    figure, cells = _grid(recording, sites, groups, _RIGHT, _BELOW)
    _write(cells[0][0], "mean", (0, 0), -9, _ASIDE)
    for axis, panel in cells:
        values = np.ma.masked_where(np.eye(len(panel.similarity), dtype=bool), panel.similarity)
        image = axis.imshow(values, norm=SCALE, cmap=COLOURS, interpolation="nearest")
        _write(axis, _number(panel.mean, 2).replace("-", "\N{MINUS SIGN}"), (0.5, 0), -9)
    bar = figure.colorbar(
        image, ax=figure.axes, label="cosine similarity", ticks=[-1, -0.5, 0, 0.5, 1], aspect=25, pad=0.01
    )
    bar.outline.set_linewidth(0.5)
    means = [panel.mean for _, panel in cells if panel.mean is not None]
    between = f", {_between(means, '.2f')}" if means else ""
    alt = (
        f"Cosine similarity of every pair of tokens in the window at one place of the image. Columns: {len(sites)} of "
        f"{len(recording.sites)} layers. Rows: steps {_steps(recording)}{_repeated(groups)}. The number under a map is "
        f"its mean without the grey diagonal{between}. The colour scale is -1 to 1 in every figure. "
        f"Prompt: {recording.prompt}, seed {recording.seed}; {recording.measured}."
    )
    numbers = _numbers(recording, "mean similarity", lambda panel: _number(panel.mean, 3))
    title = f"Figure 3: similarity inside one window, {label or recording.method}"
    return _drawing(recording, figure, "similarity", title, alt, folder, numbers=numbers)


def _maps(recording: Recording, folder: Path, label: str | None) -> Drawing:
    sites = _fitting(recording, _levels(recording), 0.1)
    groups = recording.distinct("state", sites)
    figure, cells = _grid(recording, sites, groups, 0.1, 0.05)
    for axis, panel in cells:
        _draw_map(axis, recording.image, panel)
    marks = [
        Patch(color=np.array(_COLOURS[DESTINATION]) / 255, label="destination"),
        Patch(color=np.array(_COLOURS[MERGED]) / 255, label="merged"),
        Patch(facecolor="white", edgecolor="0.5", label="not merged"),
        Patch(facecolor="none", edgecolor=_FRAME, label="similarity window"),
    ]
    columns = 4 if figure.get_size_inches()[0] > COLUMN else 2
    figure.legend(handles=marks, loc="outside lower center", ncols=columns, handlelength=1.0)
    removed = [panel.removed for _, panel in cells]
    plans = ", ".join(str(call) for call in sorted({panel.planned for _, panel in cells}))
    alt = (
        f"Windows, destinations and merged tokens over the finished image. A destination is its window's "
        f"representative token. {_between(removed, '.0%')} of a grid's tokens are merged. The frame is the window of "
        f"the similarity maps. Columns: one layer for each grid. Rows: steps {_steps(recording)}{_repeated(groups)}; "
        f"plans of call {plans}. "
        f"Prompt: {recording.prompt}, seed {recording.seed}."
    )
    numbers = _numbers(recording, "tokens merged into another", lambda panel: f"{panel.removed:.1%}")
    title = f"Figure 3: windows, representatives and merged tokens, {label or recording.method}"
    return _drawing(recording, figure, "maps", title, alt, folder, numbers=numbers, raster=_DPI)


def _drawing(recording: Recording, figure: Figure, kind: str, title: str, alt: str, folder: Path, **more) -> Drawing:
    origin = f"{PREFIX}{recording.name}"
    return drawing(figure, f"{origin}_{kind}", title, alt, folder, origin=origin, **more)


def _fitting(recording: Recording, sites: Sequence[str], right: float) -> list[str]:
    """As many of `sites`, evenly spread, as have room for the widest of their headings."""
    letters = max(len(line) for panel in recording.panels for line in _heading(panel))
    return spread(sites, min(MAX_COLUMNS, int((PAGE - _LEFT - right) / (letters * _LETTER))))


def _grid(
    recording: Recording, sites: Sequence[str], groups: Sequence[Group], right: float, below: float
) -> tuple[Figure, list[tuple[Axes, Panel]]]:
    """A row for each group of steps, a column for each site: the axes that have a panel, with it."""
    width = COLUMN if len(sites) * 0.68 + _LEFT + right <= COLUMN else PAGE
    side = min(_TALLEST, (width - _LEFT - right) / len(sites))
    figure = Figure(figsize=(width, len(groups) * (side + below) + 0.85), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.05, wspace=0.01, hspace=0.01)
    axes = figure.subplots(len(groups), len(sites), squeeze=False)
    panels = {(panel.site, panel.step): panel for panel in recording.panels}
    cells, last = [], ()
    for (row, column), axis in np.ndenumerate(axes):
        axis.set(xticks=[], yticks=[])
        panel = panels.get((sites[column], groups[row][0][1]))
        if panel is None:
            axis.axis("off")
            continue
        cells.append((axis, panel))
        if row == 0:
            _write_heading(axis, _heading(panel), 0.5, _ABOVE, last)
            last = _heading(panel) if side < _CROWDED else ()
        if column == 0:
            axis.set_ylabel(_row_name(groups[row]), rotation=0, ha="right", va="center", labelpad=6)
    _write_heading(axes[0, 0], ("layer", "block", "grid", "window"), 0, _ASIDE)
    return figure, cells


def _row_name(group: Group) -> str:
    steps = ", ".join(str(asked) for asked, _ in group)
    return textwrap.fill(f"step{'s' if len(group) > 1 else ''} {steps}", 9)


def _heading(panel: Panel) -> tuple[str, ...]:
    height, width = panel.grid
    lines = (panel.layer, panel.layer_type, f"{height}x{width}", f"{panel.window[2]}x{panel.window[3]}")
    return tuple(plain(str(line)) for line in lines)


def _write_heading(
    axis: Axes, lines: Sequence[str], x: float, style: Mapping[str, object], last: Sequence[str] = ()
) -> None:
    """Lines above a panel, each at its own height; none twice that the panel to the left has. last: that one's."""
    for place, line in enumerate(lines):
        if place == 0 or not last or line != last[place]:
            _write(axis, line, (x, 1), 4 + 10 * (len(lines) - 1 - place), style)


def _write(axis: Axes, text: str, place: tuple[float, float], up: float, style: Mapping[str, object] = _ABOVE) -> None:
    """A text `up` points above a place of the panel."""
    aside = -6 if style is _ASIDE else 0
    axis.annotate(text, place, (aside, up), xycoords="axes fraction", textcoords="offset points", **style)


def _repeated(groups: Sequence[Group]) -> str:
    """Which steps one row stands for."""
    repeated = [", ".join(str(asked) for asked, _ in group) for group in groups if len(group) > 1]
    return f"; steps {' and steps '.join(repeated)} are equal and shown once" if repeated else ""


def _levels(recording: Recording) -> list[str]:
    """The first site of each stretch of sites with one grid: down, middle and up by size."""
    first: dict[tuple, str] = {}
    for panel in recording.panels:
        first.setdefault((panel.layer_type, panel.grid), panel.site)
    order = {site: place for place, site in enumerate(recording.sites)}
    return sorted(first.values(), key=order.get)


def _draw_map(axis: Axes, image: np.ndarray, panel: Panel) -> None:
    """The states of the panel's tokens over the image, with the windows' edges and the frame of the panel's window."""
    height, width = panel.grid
    axis.imshow(overlay(image, panel), extent=(0, width, height, 0), interpolation="none")
    if panel.side > 1:
        thin = {"color": "white", "linewidth": 0.35, "alpha": 0.8}
        axis.hlines(range(panel.side, height, panel.side), 0, width, **thin)
        axis.vlines(range(panel.side, width, panel.side), 0, height, **thin)
    top, left, down, across = panel.window
    axis.add_patch(
        Rectangle((left, top), across, down, fill=False, edgecolor=_FRAME, linewidth=1.0, clip_on=False, zorder=4)
    )


def overlay(image: np.ndarray, panel: Panel) -> np.ndarray:
    """The image under the states of the panel's tokens; [h, w, 3] uint8."""
    height, width = panel.grid
    cell = max(2, SIDE // max(height, width))
    base = Image.fromarray(image).resize((width * cell, height * cell), Image.Resampling.LANCZOS)
    pixels = np.asarray(base).astype(np.float32)
    states = np.kron(panel.state, np.ones((cell, cell), dtype=panel.state.dtype))  # [height * cell, width * cell]
    for state, colour in _COLOURS.items():
        share = _OPACITY[state] * (states == state)[..., None]
        pixels = (1 - share) * pixels + share * np.array(colour, dtype=np.float32)
    return pixels.clip(0, 255).astype(np.uint8)


def _numbers(recording: Recording, what: str, number: Callable[[Panel], str]) -> Numbers:
    """One row for each layer, one column for each step."""
    cells = {(panel.site, panel.step): panel for panel in recording.panels}
    rows = []
    for site in recording.sites:
        own = [cells.get((site, step)) for _, step in recording.calls]
        panel = next(found for found in own if found is not None)
        words = f"{panel.grid[0]} x {panel.grid[1]}, window {panel.window[2]} x {panel.window[3]}"
        rows.append((site, words, *("" if found is None else number(found) for found in own)))
    steps = [f"step {asked}" for asked, _ in recording.calls]
    return Numbers((f"layer ({what})", "grid", *steps), tuple(rows))


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{round(value, decimals) + 0.0:.{decimals}f}"  # + 0.0: not -0.00


def _between(values: Sequence[float], form: str) -> str:
    low, high = format(min(values), form), format(max(values), form)
    return low if low == high else f"{low} to {high}"


def _steps(recording: Recording) -> str:
    asked = ", ".join(str(asked) for asked, _ in recording.calls)
    calls = ", ".join(str(step) for _, step in recording.calls)
    return f"{asked} of {recording.of} (calls {calls} of {recording.steps})"
