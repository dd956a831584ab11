"""One prompt by several methods, side by side: a sheet with a column for each method and a row for each seed."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from eval import atomic
from eval.report.figures.drawing import COLUMN, DPI, PAGE, STYLE, plain
from eval.report.figures.letters import fit_letters

_ACROSS = 4  # columns next to each other; more continue below
_CELL = PAGE / _ACROSS  # inches
_LINE = 0.14  # inches of a line of text
_LETTERS = 24  # of a line of text as wide as an image


@dataclass(frozen=True, eq=False)
class Column:
    """One method: `captions` below its name, then images [H, W, 3] uint8, each with a line of `notes`."""

    name: str
    captions: tuple[str, ...]
    images: tuple[np.ndarray, ...]
    notes: tuple[str, ...]


def write_sheet(columns: Sequence[Column], seeds: Sequence[int], prompt: str, path: Path) -> Path:
    """Write the sheet as PNG, atomically; its path. Small images are enlarged pixel by pixel."""
    with matplotlib.rc_context({**STYLE, "axes.spines.top": True, "axes.spines.right": True, "axes.grid": False}):
        figure = sheet(columns, seeds, prompt)
        fit_letters(figure)
        with atomic.replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=DPI)
    return path


def sheet(columns: Sequence[Column], seeds: Sequence[int], prompt: str) -> Figure:
    """The figure: `_ACROSS` methods next to each other, the prompt above."""
    across = min(len(columns), _ACROSS)
    bands = -(-len(columns) // across)
    titles = [_title(column) for column in columns]
    lines = max(title.count("\n") for title in titles) + 1
    width = max(COLUMN, across * _CELL)
    title = textwrap.fill(plain(prompt), int(width * _LETTERS / _CELL))
    side = (width - 0.25) / across - 0.05  # of an image, about
    height = bands * (len(seeds) * (side + 0.2) + lines * _LINE) + (title.count("\n") + 2) * _LINE
    figure = Figure(figsize=(width, height), layout="constrained", facecolor="white")
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.05, wspace=0.01, hspace=0.01)
    figure.suptitle(title)
    axes = figure.subplots(bands * len(seeds), across, squeeze=False)
    for axis in axes.flat:
        axis.axis("off")
    for place, column in enumerate(columns):
        band, across_place = divmod(place, across)
        for row, (image, note) in enumerate(zip(column.images, column.notes, strict=True)):
            axis = axes[band * len(seeds) + row, across_place]
            axis.axis("on")
            axis.imshow(image, interpolation="nearest")
            axis.set(xticks=[], yticks=[], xlabel=note, title=titles[place] if row == 0 else "")
            if across_place == 0:
                axis.set_ylabel(f"seed {seeds[row]}")
    return figure


def _title(column: Column) -> str:
    return "\n".join(textwrap.fill(plain(line), _LETTERS) for line in (column.name, *column.captions))
