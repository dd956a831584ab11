"""Images of one prompt by several methods, as the columns of a sheet."""

import dataclasses
import statistics
import time
from collections.abc import Sequence

import numpy as np
import torch

from eval.generation.calls import call_pipeline
from eval.generation.images import to_uint8
from eval.metrics.ssim import ssim
from eval.report.figures.sheet import Column
from eval.run.row import Row
from scripts.jobs.patching import applied
from scripts.jobs.session import Session
from scripts.tables import method_labels


@dataclasses.dataclass(frozen=True, eq=False)
class Generated:
    """One method: images [H, W, 3] uint8 by seed, seconds of each call, the ratio asked for, the share removed."""

    name: str
    images: tuple[np.ndarray, ...]
    seconds: tuple[float, ...]
    ratio: float | None
    removed: float


def generate_columns(chosen: Sequence[Row], session: Session, prompt: str, seeds: Sequence[int]) -> list[Column]:
    """A column for each row; SSIM is to the images of the first row, the baseline."""
    _warm_up(chosen[0], session, prompt)
    found = [generate(row, session, prompt, seeds) for row in chosen]
    return [column(each, found[0]) for each in found]


def _warm_up(row: Row, session: Session, prompt: str) -> None:
    """A short call that is not timed: the first call of a process is slower than later ones."""
    short = dataclasses.replace(row.sampler, steps=min(row.sampler.steps, 2))
    call_pipeline(session.pipeline(row.model, row.sampler), [prompt], [0], short)


def generate(row: Row, session: Session, prompt: str, seeds: Sequence[int]) -> Generated:
    """Images of the prompt with the row's method, one call per seed. RunError: it should merge and merged nothing."""
    pipe = session.pipeline(row.model, row.sampler)
    images, seconds = [], []
    with applied(pipe, row.method, row.backend) as on_pipe:
        for seed in seeds:
            on_pipe.set_seeds([seed])
            begin = time.perf_counter()
            image = call_pipeline(pipe, [prompt], [seed], row.sampler, output_type="np").images[0]
            seconds.append(time.perf_counter() - begin)
            images.append(to_uint8(image)[0])
        on_pipe.check(row.name)
        sites = [site for site in on_pipe.report() if site["merged"] is not None]
    tokens, merged = (sum(site[key] for site in sites) for key in ("tokens", "merged"))
    ratio = row.config["method"].get("ratio")
    return Generated(row.name, tuple(images), tuple(seconds), ratio, 1 - merged / tokens if tokens else 0.0)


def column(made: Generated, baseline: Generated) -> Column:
    """The sheet's column of one method, under its name in tables and figures."""
    first = made is baseline
    ratio = f"ratio {made.ratio:g}, " if isinstance(made.ratio, int | float) else ""
    merging = "no merging" if first else f"{ratio}{made.removed:.0%} of tokens merged"
    pairs = zip(made.images, baseline.images, strict=True)
    notes = ("",) * len(made.images) if first else tuple(_likeness(*pair) for pair in pairs)
    name = method_labels().get(made.name, made.name)
    return Column(name, (merging, f"{statistics.median(made.seconds):.2f} s"), made.images, notes)


def _likeness(image: np.ndarray, baseline: np.ndarray) -> str:
    a, b = (torch.from_numpy(pixels).permute(2, 0, 1).float() / 255 for pixels in (image, baseline))
    return f"SSIM to baseline {ssim(a, b):.3f}"
