"""Generates the image files of a manifest. Only missing or broken files are generated. The content of a file depends on
its item and its batch; in float32 on its item only, up to float noise (`SamplerConfig.images_depend_on_batch`)."""

import dataclasses
import inspect
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from diffusers import DiffusionPipeline

from eval.generation.calls import BeforeBatch, call_pipeline
from eval.generation.image_writer import ImageWriter
from eval.generation.images import NAN, ImageCheck, is_intact, read_flag, verify
from eval.generation.memory import BatchLimit
from eval.generation.prompts import PromptItem
from eval.generation.sampler import SamplerConfig
from eval.generation.shards import batches
from eval.progress import Progress

_log = logging.getLogger(__name__)

__all__ = ["GenerateReport", "ImageCheck", "generate", "sample", "verify"]


@dataclasses.dataclass(frozen=True)
class GenerateReport:
    """Result of one call of `generate`. Names are files; `remade` were broken or NaN; seconds are wall clock."""

    made: tuple[str, ...]
    kept: tuple[str, ...]
    remade: tuple[str, ...]
    nan: tuple[str, ...]
    constant: tuple[str, ...]
    seconds: float
    batch_size: int


def generate(
    pipe: DiffusionPipeline,
    items: Sequence[PromptItem],
    folder: Path,
    sampler: SamplerConfig,
    *,
    before_batch: BeforeBatch | None = None,
    after_batch: Callable[[], None] | None = None,
    progress: Progress | None = None,
) -> GenerateReport:
    """Write the missing, broken and NaN files of `items` into `folder`, while the next batch is generated.

    Batches are always split from all `items`, and a batch with a gap is generated completely. A resumed run therefore
    computes exactly what an undisturbed one does, and the files have the same bytes.
    If memory runs out, batches are halved from there on, which is logged and reported in `batch_size`. If images depend
    on the batch, this raises RunError instead.
    before_batch: called with the seeds of a batch's images before its pipeline call. after_batch: called when a batch
    is generated and queued for writing. progress: of the rows of the sweep; it counts files on disk.
    RunError if the disk is full (at most two batches later), or if memory runs out with a single image. On an error or
    Ctrl-C, the images generated so far are written first.
    """
    folder, started = Path(folder), time.perf_counter()
    limit = BatchLimit(sampler.batch_size, sampler.dtype if sampler.images_depend_on_batch else None)
    folder.mkdir(parents=True, exist_ok=True)
    size = sampler.size
    kept = {item.file: read_flag(folder / item.file) for item in items if is_intact(folder / item.file, size)}
    flags = {name: flag for name, flag in kept.items() if flag != NAN}
    intact = set(flags)
    remade = tuple(item.file for item in items if item.file not in intact and os.path.lexists(folder / item.file))
    if remade:
        _log.warning("Damaged or NaN images in %s, generated again: %d (first: %s).", folder, len(remade), remade[0])

    def written(name: str, flag: str | None) -> None:
        flags[name] = flag
        stage.update()

    generating = (progress or Progress()).stage("generating", len(items), len(intact))
    with generating as stage, ImageWriter(2 * sampler.batch_size, written) as writer:

        def fill(piece: Sequence[PromptItem]) -> None:
            gaps = {item.file for item in piece} - intact
            if not gaps:
                return
            writer.settle()
            if before_batch is not None:
                before_batch([item.seed for item in piece])
            for item, image in zip(piece, sample(pipe, piece, sampler), strict=True):
                if item.file in gaps:
                    writer.put(folder / item.file, image)
            if after_batch is not None:
                after_batch()

        for batch in batches(items, sampler.batch_size):
            limit.work_through(batch, fill)
    return _report(items, intact, remade, flags, time.perf_counter() - started, limit.size)


def sample(pipe: DiffusionPipeline, batch: Sequence[PromptItem], sampler: SamplerConfig) -> np.ndarray:
    """The images of `batch`, [B, H, W, 3] float32 in [0, 1]; all NaN if the last latents were not finite."""
    last: dict[str, torch.Tensor] = {}

    def keep(_pipe: object, _step: int, _timestep: object, tensors: dict) -> dict:
        last["latents"] = tensors["latents"]
        return tensors

    # checked once, after the call: a check at every step would make the device wait for the host
    watched = "callback_on_step_end" in inspect.signature(pipe.__call__).parameters
    extra = {"callback_on_step_end": keep} if watched else {}
    prompts, seeds = [item.prompt for item in batch], [item.seed for item in batch]
    images = call_pipeline(pipe, prompts, seeds, sampler, output_type="np", **extra).images
    if watched:
        finite = torch.isfinite(last["latents"]).flatten(1).all(dim=1).cpu().numpy()
        images[~finite] = np.nan
    return images


def _report(
    items: Sequence[PromptItem],
    intact: set[str],
    remade: tuple[str, ...],
    flags: dict[str, str | None],
    seconds: float,
    batch_size: int,
) -> GenerateReport:
    names = [item.file for item in items]
    return GenerateReport(
        made=tuple(name for name in names if name not in intact),
        kept=tuple(name for name in names if name in intact),
        remade=remade,
        nan=tuple(name for name in names if flags[name] == NAN),
        constant=tuple(name for name in names if flags[name] not in (None, NAN)),
        seconds=seconds,
        batch_size=batch_size,
    )
