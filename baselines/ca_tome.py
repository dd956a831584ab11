"""CA-ToMe: Cached Adaptive Token Merging (arXiv 2501.00946).

The matching is that of ToMeSD, but every pair whose similarity exceeds a threshold is merged, so the number of tokens
depends on the content, the layer and the step. Pairs are computed at listed steps and reused in between.

**Number of tokens left.** The rows of one call are one tensor and have the same M, but each image has its own number of
pairs above the threshold. There are two variants. In both, an image does not depend on its neighbours:
* `ratio=None`, as in the paper. In every row the r most similar pairs are merged. r is the smallest count among the
  rows (so that only pairs above the threshold are merged), rounded down to a multiple of N / `buckets` to limit the
  number of shapes. The rows of one image (both halves of guidance) determine r together, so an image depends only on
  itself if it is the only one in the call: `batch_limit` is 1. The host reads r at the listed steps. `torch.compile`
  breaks the graph there, so `fullgraph` is not possible.
* `ratio=0.5`, for example. M is fixed at N - floor(ratio * N) for any batch. No shape depends on data, nothing is read,
  and the model compiles as one graph. In every row the most similar pairs are merged. Of these, pairs above the
  threshold are averaged. A source below it does not enter the mean and only receives the output of its destination.

Choices that the paper and the released code (its `merge.py` was not available) leave open: similarity must exceed the
threshold; the count of a batch is the smallest; destinations are drawn per image at the listed steps; steps are
denoiser calls from 0 in one generation (PNDM makes 51 for 50), while the released code counts in module state. Matching
costs N_src * N_dst * C at a listed step and nothing otherwise.
"""

import itertools
from dataclasses import dataclass

from torch import Tensor

from baselines.parts.bipartite import BipartiteMerger
from baselines.parts.checks import check_integers, check_ratio
from baselines.parts.matching import first_merged, match, window_destinations
from retom.checks import as_tuple, check_flag, check_number
from retom.method import SiteContext
from retom.plans.merge_plan import MergePlan
from retom.plans.representative import num_sources


@dataclass(frozen=True)
class CAToMe(BipartiteMerger):
    """Bipartite merging of sufficiently similar tokens, with cached pairs.

    Attributes:
        threshold: cosine similarity a pair must exceed, in [-1, 1]; 1 merges nothing.
        steps: denoiser calls at which pairs are computed, increasing from 0; None computes them at every call. The
            default is the list with the authors' best reported FID.
        ratio: None for the number of pairs above the threshold, or a fixed share of tokens removed.
        buckets: r is a multiple of N / buckets (at least 1 token); not used with a fixed ratio.
        window: side of the windows, which have one destination each.
        use_rand: draw the destination of each window at random; otherwise it is the top left token.
        targets, max_downsample: see `BipartiteMerger`.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    threshold: float = 0.7
    steps: tuple[int, ...] | None = (0, 8, 11, 13, 20, 25, 30, 35, 45, 46, 47, 48, 49)
    ratio: float | None = None
    buckets: int = 16
    window: int = 2
    use_rand: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_number("threshold", self.threshold, "[-1, 1]")
        check_flag("use_rand", self.use_rand)
        check_integers(self, buckets=1, window=2)
        if self.ratio is not None:
            check_ratio(self.ratio, {f"window={self.window}": self.window**2})
        if self.steps is not None:
            object.__setattr__(self, "steps", _check_steps(self.steps))

    @property
    def merges(self) -> bool:
        """Whether a run must merge tokens."""
        return self.threshold < 1 and self.ratio != 0

    @property
    def batch_limit(self) -> int | None:
        """Images per call up to which an image depends only on its own seed; None: any number."""
        return 1 if self.ratio is None and self.merges else None

    def due(self, step: int) -> bool:
        """Whether pairs are computed at a step: at the listed steps, or at all."""
        return self.steps is None or step in self.steps

    def matched(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan:
        """Merge the pairs above the threshold."""
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
    integers = isinstance(steps, tuple) and all(isinstance(step, int) and not isinstance(step, bool) for step in steps)
    if not steps or not integers or steps[0] != 0 or any(b <= a for a, b in itertools.pairwise(steps)):
        raise ValueError(f"steps must be increasing integers starting at 0, or None for every step, got {steps!r}")
    return steps
