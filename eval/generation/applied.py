"""A method on a pipeline, as the steps of a run see it: its seeds, and where it merged."""

import dataclasses
from collections.abc import Callable

from diffusers import DiffusionPipeline

from eval.errors import RunError
from eval.generation.calls import call_pipeline
from eval.generation.prompts import PromptItem
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

    @property
    def has_worked(self) -> bool:
        """Whether the pipeline was called with the method."""
        return any(site["grid"] is not None for site in self.report())

    def check_once(self, name: str) -> Callable[[], None]:
        """A callback for every batch that checks the first one, rather than failing after hours."""
        checked = False

        def after_batch() -> None:
            nonlocal checked
            if not checked:
                self.check(name)
            checked = True

        return after_batch

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


def merges(
    pipe: DiffusionPipeline, on_pipe: Applied, name: str, item: PromptItem, sampler: SamplerConfig
) -> list[dict]:
    """The report of method `name` on `pipe`. RunError: it should merge and did not.

    If this process has not called the pipeline yet, since all images exist, `item` is generated and discarded.
    """
    if not on_pipe.has_worked:
        on_pipe.set_seeds([item.seed])
        call_pipeline(pipe, [item.prompt], [item.seed], sampler)
    on_pipe.check(name)
    return on_pipe.report()
