"""The figures of the records: saved as PNG and PDF next to the page, and as SVG inside it."""

from pathlib import Path

import matplotlib

from eval.report.drawing import STYLE, Drawing
from eval.report.gather import Gathered
from eval.report.pareto import draw_quality_speed
from eval.report.sweeps import curves, draw_sweep


def draw_all(gathered: Gathered, folder: Path) -> list[Drawing]:
    """Every figure that the records have numbers for, written into `folder`; none without numbers."""
    by_option = curves(gathered)
    with matplotlib.rc_context(STYLE):
        found = [draw_quality_speed(gathered, by_option.get("ratio", []), folder)]
        found += [draw_sweep(gathered.profile, option, each, folder) for option, each in sorted(by_option.items())]
    return [each for each in found if each is not None]
