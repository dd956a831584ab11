"""The model of a row with its method on it: whether they fit, before any weight is loaded, and for a `with` block."""

import contextlib
from collections.abc import Callable, Iterator

import torch
from diffusers import DiffusionPipeline
from torch import nn

import retom
from baselines.adapter import Adapter
from eval.generation.applied import Applied, Report
from eval.generation.calls import check_attention
from eval.generation.models.skeleton import denoiser_skeleton
from eval.generation.pipelines import pipe_identity
from eval.run.row import Row
from retom.patching.sites import find_sites
from scripts.jobs.session import Session


@contextlib.contextmanager
def patched(row: Row, session: Session) -> Iterator[tuple[DiffusionPipeline, Applied, dict]]:
    """The row's pipeline, loaded only if it supports the method, with the method on it, and what it was loaded from.

    RunError: the run has images of other weights. Errors as in `check_served` and `applied`.
    """
    with session.team.phase():
        check_served(row)
        pipe = session.pipeline(row.model, row.sampler)
        if row.sampler.compile:
            torch.compiler.reset()  # graphs of the previous row, which may have used this pipeline, are not reusable
        identity = pipe_identity(pipe)
        if session.team.is_main:
            row.folder.keep_weights(identity["weights"])
    with applied(pipe, row.method, row.backend) as on_pipe:
        yield pipe, on_pipe, identity


def check_served(row: Row) -> None:
    """ValueError if method, attention or batches of the row do not fit its model; RunError if this is unknown."""
    denoiser = denoiser_skeleton(row.model)
    check_attention(denoiser, row.sampler.attention)
    if row.sampler.compile:
        denoiser.compile()  # compiles nothing before a call
    if isinstance(row.method, Adapter):
        row.method.check_model(denoiser)
    else:
        retom.check_model(denoiser, row.method)
    _check_depth(row, denoiser)


@contextlib.contextmanager
def applied(pipe: DiffusionPipeline, method: object, backend: str) -> Iterator[Applied]:
    """Apply `method` to `pipe` and remove it however the block ends.

    ValueError: the model has no site for it, is already patched, or the method is neither a `retom.TokenMerger` nor a
    `baselines.adapter.Adapter`.
    """
    if isinstance(method, Adapter):
        sites = method.apply(pipe)
        try:
            yield _of_one_call(sites, method, lambda seeds: method.set_seeds(pipe, seeds), lambda: method.report(pipe))
        finally:
            method.remove(pipe)
    elif isinstance(method, retom.TokenMerger):
        with retom.patched(pipe, method, backend=backend) as sites:
            yield _of_one_call(sites, method, lambda seeds: retom.set_seeds(pipe, seeds), lambda: retom.report(pipe))
    else:
        raise ValueError(
            f"a method must be a retom.TokenMerger or a baselines.adapter.Adapter, got {type(method).__name__}"
        )


def _of_one_call(sites: int, method: object, set_seeds: Callable[[list[int]], None], report: Report) -> Applied:
    counts = ("plans_computed", "plans_reused")
    before: list[dict] = []

    def begin(seeds: list[int]) -> None:
        before[:] = report()
        set_seeds(seeds)

    def last_call() -> list[dict]:
        now = report()
        earlier = before or [dict.fromkeys(counts, 0)] * len(now)
        return [
            {**site, **{name: site[name] - was[name] for name in counts}}
            for site, was in zip(now, earlier, strict=True)
        ]

    return Applied(sites, begin, last_call, method.merges, method.batch_limit)


def _check_depth(row: Row, denoiser: nn.Module) -> None:
    """ValueError if the method's options exclude every site, as ToMeSD's defaults do on SDXL."""
    sites = find_sites(denoiser)
    coarser = sorted({site.downsample for site in sites})
    if row.method.merges and sites and not any(map(row.method.reaches, coarser)):
        raise ValueError(
            f"method {row.name} with these options merges at none of the {len(sites)} sites of model {row.model.name}: "
            f"their grids are {' or '.join(map(str, coarser))} times coarser than its top level, which has none; "
            f"choose options that merge there, such as method.max_downsample={coarser[-1]} if the method has it"
        )
