"""Denoiser calls and pipeline calls as cases of the bench."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

import retom
from baselines.adapter import Adapter
from eval.generation.calls import call_pipeline
from eval.generation.compiling import compile_in_place
from eval.generation.sampler import SamplerConfig
from eval.speed.bench.cells import Cell
from eval.speed.bench.denoisers import sharing_copy, timestep
from eval.speed.bench.interleave import Case
from scripts.bench_cases.methods import Clock, Contender, clocked, compile_patched

PROMPT = "A high quality photograph of a tabby cat."


def denoiser_case(
    cell: Cell, contender: Contender, denoiser: nn.Module, inputs: dict[str, Any]
) -> tuple[Case, Callable]:
    """Patch `denoiser` with the contender; returns a case of single calls and a function for its reports.

    The timestep falls from call to call, as within one generation; `begin` starts a new one. ValueError for a method
    that does not support the denoiser or is for pipelines only.
    """
    clock = Clock(cell.device)
    begin, report = _put_on(cell, contender, denoiser, denoiser, clock)
    (_, latents), *others = inputs.items()
    step = 0

    def call() -> torch.Tensor:
        nonlocal step
        now = timestep(denoiser, step, cell.batch).to(cell.device)
        step += 1
        if cell.mode != "eager":  # begins a generation of CUDA graphs, if there are any
            torch.compiler.cudagraph_mark_step_begin()
        # latents by position, as the tomesd package expects
        return denoiser(latents, timestep=now, **dict(others), return_dict=False)[0]

    def restart() -> None:
        nonlocal step
        step = 0
        begin()

    return Case(contender.name, call, restart, contender.period, _planned(cell, contender, clock)), report


def pipeline_case(cell: Cell, contender: Contender, pipe: DiffusionPipeline) -> tuple[Case, Callable]:
    """The contender on a copy of `pipe`, as a case of calls for `cell.batch` images, and its reports.

    Every call is a complete generation, so the period is within it.
    """
    own = copy.copy(pipe)
    own.scheduler = type(pipe.scheduler).from_config(pipe.scheduler.config)
    name = "unet" if hasattr(pipe, "unet") else "transformer"
    denoiser = sharing_copy(getattr(pipe, name))
    setattr(own, name, denoiser)
    sampler = SamplerConfig(
        scheduler=type(pipe.scheduler).__name__,
        steps=cell.steps,
        height=cell.pixels,
        width=cell.pixels,
        dtype=cell.dtype,
        device=cell.device,
        attention=cell.attention,
        batch_size=cell.batch,
    )
    clock = Clock(cell.device)
    _, report = _put_on(cell, contender, own, denoiser, clock)
    call = 0

    def generate() -> object:
        nonlocal call
        seeds = [call * cell.batch + image for image in range(cell.batch)]
        call += 1
        if isinstance(contender.method, Adapter):
            contender.method.set_seeds(own, seeds)
        else:
            retom.set_seeds(own, seeds)
        return call_pipeline(own, [PROMPT] * cell.batch, seeds, sampler)

    return Case(contender.name, generate, planned=_planned(cell, contender, clock), denoiser=denoiser), report


def _put_on(
    cell: Cell, contender: Contender, model: DiffusionPipeline | nn.Module, denoiser: nn.Module, clock: Clock
) -> tuple[Callable, Callable]:
    """Patch `model` (the denoiser or its pipeline) and, if requested, compile the denoiser.

    Returns a function that begins a generation, and one that reports the merges.
    """
    method = contender.method
    if isinstance(method, Adapter):
        method.check_model(denoiser)
        method.apply(model)
        begin, report = _nothing, lambda: method.report(model)
        compile_in_place(denoiser, cell.mode)
    else:
        method = clocked(method, clock) if cell.mode == "eager" else method
        retom.apply_patch(model, method, backend=contender.backend)
        begin, report = lambda: retom.reset(model), lambda: retom.report(model)
        compile_patched(denoiser, cell.mode)
    return begin, report


def _planned(cell: Cell, contender: Contender, clock: Clock) -> Callable[[], float | None]:
    if cell.mode != "eager" or isinstance(contender.method, Adapter):
        return _nothing
    return clock.take


def _nothing() -> None:
    return None
