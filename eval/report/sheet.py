"""One prompt by several methods, side by side: a sheet with a column for each method and a row for each seed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from eval import atomic
from eval.report.drawing import plain
from eval.report.letters import fit_letters

_CELL = 2.2  # inches
_DPI = 160


@dataclass(frozen=True, eq=False)
class Column:
    """One method: `captions` stand under its name, `pictures` [H, W, 3] uint8 below, each with a line of `notes`."""

    name: str
    captions: tuple[str, ...]
    pictures: tuple[np.ndarray, ...]
    notes: tuple[str, ...]


def write_sheet(columns: Sequence[Column], seeds: Sequence[int], prompt: str, path: Path) -> Path:
    """Write the sheet as PNG, atomically; its path. Small pictures are enlarged pixel by pixel."""
    with matplotlib.rc_context({"font.size": 9}):
        figure = _figure(columns, seeds, prompt)
        fit_letters(figure)
        with atomic.replacing(path) as temporary:
            figure.savefig(temporary, format="png", dpi=_DPI)
    return path


def _figure(columns: Sequence[Column], seeds: Sequence[int], prompt: str) -> Figure:
    size = (_CELL * len(columns) + 0.4, (_CELL + 0.25) * len(seeds) + 1.2)
    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    figure.suptitle(plain(prompt), wrap=True)
    axes = figure.subplots(len(seeds), len(columns), squeeze=False)
    for place, column in enumerate(columns):
        axes[0, place].set_title("\n".join([plain(column.name), *column.captions]), fontsize=8)
        for row, (picture, note) in enumerate(zip(column.pictures, column.notes, strict=True)):
            axes[row, place].imshow(picture, interpolation="nearest")
            axes[row, place].set(xticks=[], yticks=[], xlabel=note)
    for row, seed in enumerate(seeds):
        axes[row, 0].set_ylabel(f"seed {seed}")
    return figure
