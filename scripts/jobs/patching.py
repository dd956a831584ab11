"""Applies a method to a pipeline for a `with` block, for both kinds of methods."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator

from diffusers import DiffusionPipeline

import retom
from baselines.adapter import Adapter
from eval.errors import RunError
from eval.generation.sampler import SamplerConfig

Report = Callable[[], list[dict]]


@dataclasses.dataclass(frozen=True)
class Applied:
    """A method applied to a pipeline.

    sites: number of patched places. set_seeds: call it with the image seeds before every pipeline call.
    report: one dict per site, as `retom.report`. Its counts of plans are those of the last pipeline call, so that they
    do not depend on how many images this process generated. merges: whether a run must merge something.
    batch_limit: images of one pipeline call up to which an image is a function of its own seed; None: any number.
    """

    sites: int
    set_seeds: Callable[[list[int]], None]
    report: Report
    merges: bool
    batch_limit: int | None = None

    def sampling(self, sampler: SamplerConfig) -> SamplerConfig:
        """The sampler used for images: the user's, with batches no larger than the method allows.

        Methods that merge generate one image per call if images must not depend on the batch (float32): a denoiser
        rounds differently in another batch, and rounding decides near ties (docs/methods.md, "Images and batches").
        """
        limit = 1 if self.merges and not sampler.images_depend_on_batch else self.batch_limit
        if limit is None or sampler.batch_size <= limit:
            return sampler
        return dataclasses.replace(sampler, batch_size=limit)

    def check(self, name: str) -> None:
        """RunError if the method should merge and merged nothing in at least one pipeline call."""
        sites = self.report()
        if self.merges and not any(merged(site) for site in sites):
            grids = sorted({"x".join(map(str, site["grid"])) for site in sites if site["grid"]})
            raise RunError(
                f"method {name} merged nothing at any of its {len(sites)} sites "
                f"(token grids {', '.join(grids) or '-'}); "
                "raise its ratio or the depth it merges at, or use a larger image"
            )


def merged(site: dict) -> bool:
    """Whether a site of a report runs on fewer tokens than its input has."""
    return site["merged"] is not None and site["merged"] < site["tokens"]


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
