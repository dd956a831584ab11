"""CA-ToMe: Cached Adaptive Token Merging (arXiv 2501.00946).

ToMeSD's matching, but every pair that is more similar than a threshold is merged, so that the number of tokens follows
the content, the layer and the step; and pairs are found at listed steps only and used again in between.

**How many tokens are left.** Rows of one call are one tensor and must have one M, while each image has its own number
of pairs above the threshold. Two forms, neither of which lets a neighbour into an image:
* `ratio=None`, the paper's. Of every row the r most similar pairs are merged, r being the smallest count among the rows
  (so that only pairs above the threshold are merged), rounded down to a multiple of N / `buckets` so that few shapes
  occur. The rows of one image (both halves of guidance) decide r together, so an image is a function of itself as long
  as it is alone in the call: `batch_limit` is 1. r is read by the host at the listed steps; `torch.compile` breaks its
  graph there, hence not `fullgraph`.
* `ratio=0.5`, say. M is fixed, N - floor(ratio * N), whatever the batch holds: no shape depends on data, nothing is
  read, and the model compiles as one graph. Of every row the most similar pairs take the slots; of these, pairs above
  the threshold are averaged, and a source below it is left out of the mean and only receives its destination's output.

Where the paper and the released code (whose `merge.py` was not at hand) leave a choice: similarity must exceed the
threshold; the count of a batch is the smallest; destinations are drawn per image at the listed steps; steps are
denoiser calls from 0 within one generation (PNDM makes 51 for 50), while the released code counts in module state.
Matching costs N_src * N_dst * C at a listed step and nothing otherwise.
"""

import itertools
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.checks import check_integers, check_ratio
from baselines.matching import first_merged, match, window_destinations
from retom.checks import as_tuple, check_flag, check_number
from retom.method import SiteContext, TokenMerger, check_merger
from retom.plan import MergePlan
from retom.representative import num_sources


@dataclass(frozen=True)
class CAToMe(TokenMerger):
    """Bipartite merging of what is similar enough, with cached pairs.

    Attributes:
        threshold: cosine similarity a pair must exceed, in [-1, 1]; 1 merges nothing.
        steps: denoiser calls at which pairs are found, from 0, rising; None finds them at every call. The default is
            the list of the authors' best reported FID.
        ratio: None for as many as exceed the threshold, or the fixed share of tokens removed.
        buckets: sizes of r that can occur are multiples of N / buckets (at least 1 token); no matter to a fixed ratio.
        window: side of the windows that have one destination each.
        use_rand: draw each window's destination; otherwise it is the top left token.
        targets: the sub-layers that run on merged tokens, of "self" or "self_kv", "cross", "ff".
        max_downsample: leave grids coarser than this alone; None merges at every depth.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    threshold: float = 0.7
    steps: tuple[int, ...] | None = (0, 8, 11, 13, 20, 25, 30, 35, 45, 46, 47, 48, 49)
    ratio: float | None = None
    buckets: int = 16
    window: int = 2
    use_rand: bool = True
    targets: tuple[str, ...] = ("self",)
    max_downsample: int | None = 1
    metric = "block_input"

    def __post_init__(self):
        object.__setattr__(self, "targets", as_tuple(self.targets))
        check_merger(self)
        check_number("threshold", self.threshold, "[-1, 1]")
        check_flag("use_rand", self.use_rand)
        check_integers(self, buckets=1, window=2)
        if self.ratio is not None:
            check_ratio(self.ratio, {f"window={self.window}": self.window**2})
        if self.steps is not None:
            object.__setattr__(self, "steps", _check_steps(self.steps))

    @property
    def merges(self) -> bool:
        """Whether a run must merge something."""
        return self.threshold < 1 and self.ratio != 0

    @property
    def batch_limit(self) -> int | None:
        """Images of one call up to which an image is a function of its own seed alone; None: any number."""
        return 1 if self.ratio is None and self.merges else None

    def due(self, step: int) -> bool:
        """Whether pairs are found at a step: at those listed, or at all."""
        return self.steps is None or step in self.steps

    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan | None:
        """Plan one site; None below `max_downsample`."""
        if not self.reaches(context.downsample):
            return None
        with torch.no_grad():
            return self._find(metric, grid, context)

    def _find(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan:
        batch, num_tokens, _ = metric.shape
        identity = MergePlan.identity(batch, num_tokens, metric.device)
        if not self.merges:
            return identity
        matching = match(metric, window_destinations(grid, (self.window, self.window), batch, context, self.use_rand))
        similar = matching.similarity > self.threshold
        if self.ratio is None:
            bucket = max(1, num_tokens // self.buckets)
            removed, similar = int(similar.sum(dim=1).min()) // bucket * bucket, None
        else:
            removed = min(num_sources(self.ratio, num_tokens), similar.shape[1])
        if not removed:
            return identity
        return first_merged(matching, matching.similarity, removed, similar, context.backend)


def _check_steps(steps) -> tuple[int, ...]:
    steps = as_tuple(steps)
    whole = isinstance(steps, tuple) and all(isinstance(step, int) and not isinstance(step, bool) for step in steps)
    if not steps or not whole or steps[0] != 0 or any(b <= a for a, b in itertools.pairwise(steps)):
        raise ValueError(f"steps must be rising integers from 0 on, or None for every step, got {steps!r}")
    return steps
