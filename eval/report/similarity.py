"""Figure 3: cosine similarity inside one window of every layer over steps, and what became of the tokens."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from eval.report.drawing import STYLE, Drawing, Numbers, keep, plain, raster_uri, svg_uri
from eval.report.gallery import spread
from eval.report.recording import DESTINATION, MERGED, PREFIX, Panel, Recording

MAX_COLUMNS = 16  # as many as Stable Diffusion 1.5 has sites; of more, as many spread evenly
SIDE = 256  # pixels of a picture under a map, about
_DPI = 120
_CELL, _MAP = 0.85, 1.7  # inches of one heat map, of one map over the picture
# Told apart by brightness as well as by hue, so that they are by everyone and in grey.
_COLOURS = {DESTINATION: (255, 196, 0), MERGED: (16, 42, 92)}
_OPACITY = {DESTINATION: 0.75, MERGED: 0.6}
_FRAME = (255, 0, 110)
_GRID = (255, 255, 255)
_SMALL = {"axes.grid": False, "font.size": 7, "axes.titlesize": 6.5}


def draw_recording(recording: Recording, folder: Path) -> list[Drawing]:
    """Both figures of a recording, written into `folder`."""
    with matplotlib.rc_context({**STYLE, **_SMALL}):
        return [_heat_maps(recording, folder), _maps(recording, folder)]


def _heat_maps(recording: Recording, folder: Path) -> Drawing:
    sites = spread(recording.sites, MAX_COLUMNS)
    figure, axes, found = _grid(recording, sites, _CELL)
    low = min(float(panel.similarity.min()) for panel in found.values())
    low = min(low, 0.999)  # one colour for all would leave the scale without an extent
    image = None
    for (row, column), panel in found.items():
        image = axes[row, column].imshow(panel.similarity, vmin=low, vmax=1, cmap="viridis", interpolation="nearest")
    figure.colorbar(image, ax=axes, label="cosine similarity", shrink=0.6, aspect=30, pad=0.01)
    name = f"{PREFIX}{recording.name}_similarity"
    title = f"Figure 3: similarity inside one window, {recording.method}"
    means = [panel.mean for panel in found.values() if panel.mean is not None]
    between = f"; means between different tokens from {min(means):.2f} to {max(means):.2f}" if means else ""
    alt = (
        f"Cosine similarity of every two tokens of the window at one place of the picture, {len(sites)} of "
        f"{len(recording.sites)} layers in columns, steps {_steps(recording)} in rows{between}. "
        f"Prompt: {recording.prompt}, seed {recording.seed}; {recording.measured}."
    )
    numbers = _numbers(recording, "mean similarity", lambda panel: _number(panel.mean))
    return Drawing(name, title, svg_uri(figure), alt, keep(figure, name, folder), numbers, _origin(recording))


def _maps(recording: Recording, folder: Path) -> Drawing:
    sites = _levels(recording)
    figure, axes, found = _grid(recording, sites, _MAP)
    for (row, column), panel in found.items():
        axes[row, column].imshow(overlay(recording.picture, panel), interpolation="none")
    marks = [
        Patch(color=np.array(_COLOURS[DESTINATION]) / 255, label="destination (the representative token)"),
        Patch(color=np.array(_COLOURS[MERGED]) / 255, label="merged into a destination"),
        Patch(facecolor="white", edgecolor="0.5", label="left alone"),
        Patch(facecolor="none", edgecolor=np.array(_FRAME) / 255, label="the window of the heat maps"),
    ]
    figure.legend(handles=marks, loc="outside lower center", ncols=4, frameon=False)
    name = f"{PREFIX}{recording.name}_maps"
    removed = [panel.removed for panel in found.values()]
    alt = (
        f"Over the finished picture, the windows of each layer, their destinations and the tokens merged into them, "
        f"{min(removed):.0%} to {max(removed):.0%} of a grid's tokens, by the plan in force. "
        f"One layer for each grid in columns, steps {_steps(recording)} in rows. "
        f"Prompt: {recording.prompt}, seed {recording.seed}."
    )
    numbers = _numbers(recording, "tokens merged into another", lambda panel: f"{panel.removed:.1%}")
    title = f"Figure 3: windows, representatives and merged tokens, {recording.method}"
    return Drawing(name, title, raster_uri(figure, _DPI), alt, keep(figure, name, folder), numbers, _origin(recording))


def _grid(
    recording: Recording, sites: Sequence[str], cell: float
) -> tuple[Figure, np.ndarray, dict[tuple[int, int], Panel]]:
    """Axes [steps, sites] with their titles, and the panel of each that has one; the others are left blank."""
    calls = recording.calls
    size = (cell * 1.1 * len(sites) + 1.2, (cell + 0.12) * len(calls) + 0.9)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    axes = figure.subplots(len(calls), len(sites), squeeze=False)
    found = {}
    for panel in recording.panels:
        if panel.site in sites:
            found[calls.index((panel.asked, panel.step)), sites.index(panel.site)] = panel
    for (row, column), axis in np.ndenumerate(axes):
        axis.set(xticks=[], yticks=[])
        panel = found.get((row, column))
        if panel is None:
            axis.axis("off")
        elif row == 0:
            axis.set_title(_site(panel))
        if column == 0:
            axis.set_ylabel(_row_name(recording, *calls[row]))
    return figure, axes, found


def _row_name(recording: Recording, asked: int, step: int) -> str:
    planned = sorted({panel.planned for panel in recording.panels if panel.step == step})
    return f"step {asked}: call {step} of {recording.steps}\nplan of call {', '.join(map(str, planned))}"


def _site(panel: Panel) -> str:
    height, width = panel.grid
    return plain(f"{panel.layer}: {panel.layer_type}\n{height} x {width}\nwindow {panel.window[2]} x {panel.window[3]}")


def _levels(recording: Recording) -> list[str]:
    """The first site of each stretch of sites with one grid: down, middle and up by size."""
    first: dict[tuple, str] = {}
    for panel in recording.panels:
        first.setdefault((panel.layer_type, panel.grid), panel.site)
    order = {site: place for place, site in enumerate(recording.sites)}
    return spread(sorted(first.values(), key=order.get), MAX_COLUMNS)


def overlay(picture: np.ndarray, panel: Panel) -> np.ndarray:
    """The picture under the states of the panel's tokens, with the windows' edges; [h, w, 3] uint8."""
    height, width = panel.grid
    cell = max(2, SIDE // max(height, width))
    base = Image.fromarray(picture).resize((width * cell, height * cell), Image.Resampling.LANCZOS)
    pixels = np.asarray(base).astype(np.float32)
    states = np.kron(panel.state, np.ones((cell, cell), dtype=panel.state.dtype))  # [height * cell, width * cell]
    for state, colour in _COLOURS.items():
        share = _OPACITY[state] * (states == state)[..., None]
        pixels = (1 - share) * pixels + share * np.array(colour, dtype=np.float32)
    if panel.side > 1:
        for start in range(panel.side * cell, height * cell, panel.side * cell):
            pixels[start] = 0.4 * pixels[start] + 0.6 * np.array(_GRID)
        for start in range(panel.side * cell, width * cell, panel.side * cell):
            pixels[:, start] = 0.4 * pixels[:, start] + 0.6 * np.array(_GRID)
    _frame(pixels, panel.window, cell)
    return pixels.clip(0, 255).astype(np.uint8)


def _frame(pixels: np.ndarray, window: tuple[int, int, int, int], cell: int) -> None:
    """A frame of two pixels around the window looked into, in place."""
    top, left, height, width = (side * cell for side in window)
    bottom, right = min(top + height, len(pixels)), min(left + width, pixels.shape[1])
    inner = pixels[top + 2 : bottom - 2, left + 2 : right - 2].copy()
    pixels[top:bottom, left:right] = _FRAME
    pixels[top + 2 : bottom - 2, left + 2 : right - 2] = inner


def _numbers(recording: Recording, what: str, number) -> Numbers:
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


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _steps(recording: Recording) -> str:
    asked = ", ".join(str(asked) for asked, _ in recording.calls)
    calls = ", ".join(str(step) for _, step in recording.calls)
    return f"{asked} of {recording.of} (calls {calls} of {recording.steps})"


def _origin(recording: Recording) -> str:
    return f"{PREFIX}{recording.name}"
