"""TensorBoard: one folder of event files per run, read by `tensorboard --logdir`."""

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from eval.report.figures.letters import fit_letters
from eval.trackers import Tracked
from eval.trackers.curves import Curve


@dataclass(frozen=True)
class TensorBoard:
    """folder: where the runs' folders are written. ValueError: it is empty."""

    folder: str

    def __post_init__(self) -> None:
        if not self.folder:
            raise ValueError(f"tracker.folder must name a folder, got {self.folder!r}")

    def keep(self, run: Tracked) -> None:
        """Write the run's events, replacing earlier ones."""
        from torch.utils.tensorboard import SummaryWriter

        folder = Path(self.folder) / run.name
        for old in folder.glob("events.out.tfevents.*"):
            old.unlink()
        with SummaryWriter(str(folder)) as writer:
            writer.add_text("record", f"```json\n{json.dumps(run.record, indent=2, ensure_ascii=False)}\n```")
            writer.add_hparams(dict(run.options), {f"number/{k}": v for k, v in run.numbers.items()}, run_name=".")
            for curve in run.curves:
                _add_curve(writer, curve)
            if run.sheet is not None:
                writer.add_image("images", np.asarray(run.sheet), dataformats="HWC")


def _add_curve(writer: Any, curve: Curve) -> None:
    """As scalars if x counts calls, otherwise as an image, since a scalar's step must be an integer."""
    title = curve.title.replace(" ", "_")
    if curve.x == "call":
        for call, value in curve.points:
            writer.add_scalar(f"curve/{title}", value, int(call))
    else:
        writer.add_image(f"curve/{title}", plotted(curve), dataformats="HWC")


def plotted(curve: Curve) -> np.ndarray:
    """The curve as an image [H, W, 3] uint8."""
    figure = Figure(figsize=(5, 3.5), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    axes.plot([x for x, _ in curve.points], [y for _, y in curve.points], marker="o")
    axes.set(xlabel=curve.x, ylabel=curve.y, title=curve.title)
    fit_letters(figure)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return np.asarray(Image.open(buffer).convert("RGB"))
