"""README.md's image: one prompt by several methods, and the differences to the baseline."""

from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image

from eval import atomic
from eval.metrics.ssim import ssim
from scripts.command_line.entry import ROOT
from scripts.jobs.session import Session
from scripts.show import rows
from scripts.studies.sheets import Generated, generate

IMAGE = ROOT / "docs" / "images" / "merging_example.webp"
GAIN = 3  # of the difference images
SIDE = 256  # pixels of an enlarged image


def write_example(example: Mapping, labels: Mapping[str, str], session: Session) -> Path:
    """Generate one prompt with every method and write the images and their differences to the baseline; the path."""
    chosen = rows(example["methods"], [f"method.ratio={example['ratio']}"])
    columns = [generate(row, session, example["prompt"], [example["seed"]]) for row in chosen]
    with matplotlib.rc_context({"font.size": 12}), atomic.replacing(IMAGE) as temporary:
        figure = _example(columns, example, labels)
        figure.savefig(temporary, format="webp", dpi=130, pil_kwargs={"quality": 90})
    return IMAGE


def _example(columns: list[Generated], example: Mapping, labels: Mapping[str, str]) -> Figure:
    baseline = columns[0].images[0]
    figure = Figure(figsize=(2.2 * (2 * len(columns) - 1), 3.2), layout="constrained", facecolor="white")
    figure.suptitle(f"{example['prompt']} Seed {example['seed']}, merge ratio {example['ratio']:g}")
    axes = iter(figure.subplots(1, 2 * len(columns) - 1))
    _panel(next(axes), baseline, "Baseline\nno merging", "")
    for column in columns[1:]:
        image, label = column.images[0], labels[column.name].partition(" (")[0]
        likeness = ssim(*(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 for pixels in (image, baseline)))
        difference = np.abs(image.astype(int) - baseline.astype(int)) * GAIN
        _panel(
            next(axes), image, f"{label}\n{column.removed:.0%} of tokens removed", f"SSIM to baseline {likeness:.2f}"
        )
        _panel(
            next(axes), difference.clip(0, 255).astype(np.uint8), f"{label} - baseline", f"absolute difference x {GAIN}"
        )
    return figure


def _panel(axis, pixels: np.ndarray, title: str, note: str) -> None:
    axis.imshow(Image.fromarray(pixels).resize((SIDE, SIDE), Image.Resampling.LANCZOS))
    axis.set_title(title, fontsize=11)
    axis.set(xticks=[], yticks=[], xlabel=note)
