"""Timing as a separate pass: same prompts and seeds for every method, warm-up per shape, synchronised, raw values.

The pipeline is called as users call it, so text encoding, planning, merging and the VAE are all included in the time.
"""

import logging
import math
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
import torch
from diffusers import DiffusionPipeline

from eval.errors import RunError
from eval.generation.applied import Applied
from eval.generation.calls import BeforeBatch, call_pipeline, denoiser
from eval.generation.memory import fits
from eval.generation.prompts import PromptItem
from eval.generation.sampler import SamplerConfig
from eval.progress import Progress
from eval.speed.attention import attention_dispatch, first_call_attention
from eval.speed.idle import Watch, wait_until_idle
from eval.speed.timing import TimingConfig

_log = logging.getLogger(__name__)

PROTOCOL = "wall clock of whole pipeline calls after warm-up, synchronised, planning included"


def measure(
    pipe: DiffusionPipeline,
    sampler: SamplerConfig,
    timing: TimingConfig,
    *,
    prompts: Sequence[str],
    before_batch: BeforeBatch | None = None,
    progress: Progress | None = None,
) -> dict:
    """Time `pipe` at every batch size of `timing`; image i uses prompt i (cyclically) and seed i.

    Returns plain data: `s_per_im` (median seconds of a batch-1 call), `images_per_s` (of the best batch size) with
    `best_batch_size`, `batches` (one entry per size with raw `seconds` per call), `out_of_memory` (batch sizes that did
    not fit), `peak_memory`, and whether the device was idle (`quiet`; None if unknown), with the other work seen.
    ValueError without prompts. RunError if not even one image fits into memory.
    """
    if not prompts:
        raise ValueError("prompts must have at least one prompt, got none")
    pipe.set_progress_bar_config(disable=True)
    if timing.wait:
        wait_until_idle(sampler.device, timing.wait)
    watch, rows, too_large = Watch(sampler.device), [], []
    with (progress or Progress()).stage("timing", timing.calls, unit="call") as stage:

        def timed(size: int) -> None:
            rows.append(_measure_batch(pipe, sampler, timing, size, prompts, before_batch, stage.update))

        for size in timing.shapes:
            if not fits(timed, size):
                too_large.append(size)
    if 1 in too_large:
        raise RunError("memory runs out with one image per pipeline call, so nothing can be timed; set timing=off")
    seen = watch.so_far()
    if not seen.idle:
        _log.warning("The timing of this row is marked: %s while it was measured.", seen.reason)
    best = max(rows, key=lambda row: row["images_per_s"])
    return {
        "s_per_im": rows[0]["median"],
        "images_per_s": best["images_per_s"],
        "best_batch_size": best["batch_size"],
        "protocol": PROTOCOL,
        "warmup": timing.warmup,
        "threads": torch.get_num_threads(),
        "load_average": os.getloadavg()[0],
        "quiet": seen.idle,
        "others_cpu_share": seen.others_cpu_share,
        "other_gpu_processes": seen.gpu_processes,
        "batches": rows,
        "out_of_memory": too_large,
        "peak_memory": rows[-1]["peak_memory"],
    }


def _measure_batch(
    pipe: DiffusionPipeline,
    sampler: SamplerConfig,
    timing: TimingConfig,
    size: int,
    prompts: Sequence[str],
    before_batch: BeforeBatch | None,
    after_call: Callable[[], None],
) -> dict:
    calls = math.ceil(timing.images / size)
    if sampler.device != "cpu":
        torch.cuda.empty_cache()  # memory pooled by generation and scoring does not belong to this batch
        torch.cuda.reset_peak_memory_stats(sampler.device)
    for call in range(timing.warmup):
        _timed_call(pipe, sampler, size, call, prompts, before_batch)
        after_call()
    seconds = []
    for call in range(calls):
        seconds.append(_timed_call(pipe, sampler, size, call, prompts, before_batch))
        after_call()
    summary = summarise(seconds)
    return {
        "batch_size": size,
        "seconds": seconds,
        **summary,
        "images_per_s": size / summary["median"],
        "peak_memory": peak_memory(sampler.device),
    }


def _timed_call(
    pipe: DiffusionPipeline,
    sampler: SamplerConfig,
    size: int,
    call: int,
    prompts: Sequence[str],
    before_batch: BeforeBatch | None,
) -> float:
    seeds = [call * size + offset for offset in range(size)]
    chosen = [prompts[seed % len(prompts)] for seed in seeds]
    _synchronise(sampler.device)
    started = time.perf_counter()
    if before_batch is not None:
        before_batch(seeds)
    call_pipeline(pipe, chosen, seeds, sampler)
    _synchronise(sampler.device)
    return time.perf_counter() - started


def summarise(seconds: Sequence[float]) -> dict[str, float]:
    """Median, 90th percentile, interquartile range and minimum of raw `seconds` (linear interpolation)."""
    low, high, p90 = np.quantile(seconds, [0.25, 0.75, 0.9])
    return {
        "median": statistics.median(seconds),
        "p90": float(p90),
        "iqr": float(high - low),
        "min": min(seconds),
    }


def peak_memory(device: str) -> dict[str, int]:
    """Peak bytes: torch's allocated and reserved on CUDA; on the CPU the process's resident set so far."""
    if device != "cpu":
        return {
            "cuda_allocated_bytes": torch.cuda.max_memory_allocated(device),
            "cuda_reserved_bytes": torch.cuda.max_memory_reserved(device),
        }
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage counts kibibytes on Linux, bytes on macOS
    return {"process_peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}


def _synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize(device)


def attention_of(
    pipe: DiffusionPipeline, on_pipe: Applied, items: Sequence[PromptItem], sampler: SamplerConfig
) -> dict:
    """The attention kernels of one denoiser call for `items`; as many as before, so that nothing is compiled.

    Call this last: afterwards `on_pipe` reports an aborted generation.
    """
    seeds = [item.seed for item in items]
    on_pipe.set_seeds(seeds)

    def generate() -> None:
        call_pipeline(pipe, [item.prompt for item in items], seeds, sampler)

    model = denoiser(pipe)
    kernels = first_call_attention(model, generate, sampler.device)
    return {"attention_kernel": kernels, "attention_dispatch": attention_dispatch(model)}
