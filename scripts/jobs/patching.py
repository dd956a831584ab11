"""Applies a method to a pipeline for a `with` block, for both kinds of methods."""

import contextlib
from collections.abc import Callable, Iterator

from diffusers import DiffusionPipeline

import retom
from baselines.adapter import Adapter
from eval.generation.applied import Applied, Report


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
