"""The figures of the records: saved as PNG and PDF next to the page, and as SVG inside it."""

from pathlib import Path

import matplotlib

from eval.report.figures.drawing import STYLE, Drawing
from eval.report.figures.pareto import draw_quality_speed
from eval.report.figures.sweeps import curves, draw_sweep
from eval.report.gather import Gathered


def draw_all(gathered: Gathered, folder: Path) -> list[Drawing]:
    """Every figure that the records have numbers for, written into `folder`; none without numbers."""
    by_option = curves(gathered)
    with matplotlib.rc_context(STYLE):
        found = [draw_quality_speed(gathered, by_option.get("ratio", []), folder)]
        found += [draw_sweep(gathered.profile, option, each, folder) for option, each in sorted(by_option.items())]
    return [each for each in found if each is not None]
