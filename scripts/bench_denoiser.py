"""Whole denoiser calls and whole pipelines as cases of the bench."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from diffusers import DiffusionPipeline
from torch import nn

import retom
from baselines.adapter import Adapter
from eval.bench.cells import Cell
from eval.bench.compiling import compile_in_place
from eval.bench.denoisers import sharing_copy
from eval.bench.interleave import Case
from eval.sampler import SamplerConfig, call_pipeline
from scripts.bench_methods import Clock, Contender, clocked

TIMESTEPS = 1000
PROMPT = "A high quality photograph of a tabby cat."


def denoiser_case(cell: Cell, contender: Contender, unet: nn.Module, inputs: dict[str, Any]) -> tuple[Case, Callable]:
    """The contender on `unet`, which it patches, as a case of single calls; and a function for its list of reports.

    The timestep falls from call to call, as within one generation; `begin` starts another one.
    """
    clock = Clock(cell.device)
    begin, report = _put_on(cell, contender, unet, clock)
    others = {name: value for name, value in inputs.items() if name != "sample"}
    sample, step = inputs["sample"], 0

    def call() -> torch.Tensor:
        nonlocal step
        timestep = torch.tensor(TIMESTEPS - 1 - step % TIMESTEPS)
        step += 1
        if cell.mode == "reduce-overhead":
            torch.compiler.cudagraph_mark_step_begin()
        # latents by position: the tomesd package looks for them there
        return unet(sample, timestep.to(cell.device), **others, return_dict=False)[0]

    def restart() -> None:
        nonlocal step
        step = 0
        begin()

    return Case(contender.name, call, restart, contender.period, _planned(cell, contender, clock)), report


def pipeline_case(cell: Cell, contender: Contender, pipe: DiffusionPipeline) -> tuple[Case, Callable]:
    """The contender on a copy of `pipe`, as a case of whole calls for `cell.batch` images; and its reports.

    Every call is a generation of its own, so the period runs inside of it.
    """
    own = copy.copy(pipe)
    own.unet = sharing_copy(pipe.unet)
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
    _, report = _put_on(cell, contender, own.unet, clock)
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

    return Case(contender.name, generate, planned=_planned(cell, contender, clock)), report


def _put_on(cell: Cell, contender: Contender, unet: nn.Module, clock: Clock) -> tuple[Callable, Callable]:
    """Patch and, where asked for, compile `unet`; how a generation is begun, and what was merged."""
    method = contender.method
    if isinstance(method, Adapter):
        method.apply(unet)
        begin, report = _nothing, lambda: method.report(unet)
    else:
        method = clocked(method, clock) if cell.mode == "eager" else method
        retom.apply_patch(unet, method, backend=contender.backend)
        begin, report = lambda: retom.reset(unet), lambda: retom.report(unet)
    compile_in_place(unet, cell.mode)
    return begin, report


def _planned(cell: Cell, contender: Contender, clock: Clock) -> Callable[[], float | None]:
    if cell.mode != "eager" or isinstance(contender.method, Adapter):
        return _nothing
    return clock.take


def _nothing() -> None:
    return None
