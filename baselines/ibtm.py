"""IBTM: Importance-Based Token Merging (arXiv 2411.16720, ICCV 2025).

The importance of a token is the effect of guidance on it: the magnitude of the difference between the conditional and
the unconditional prediction. The most important tokens form a pool. Destinations are drawn from it at random, and the
rest of the pool are sources. Each source is matched with its most similar destination. Unimportant tokens are merged
first. Important sources are merged only if the ratio requires it, so those without a good match are not merged.

No code is released and the full text was not available. This file follows the abstract and the project page. Choices
that these leave open:
* Importance comes from the previous denoiser call. At step 0 there is none, and without guidance there is never any.
  All tokens are then equally important, the pool is the complete grid, and the method is ToMeSD with destinations drawn
  from anywhere. SD 3 stacks the branches as U-Nets do. Flux is not supported: guidance is one of its inputs, and its
  predictions have no branches to compare. Three branches (perturbed attention guidance) are not supported either.
* Magnitude is the norm over the channels of the output, averaged over the latent pixels of the grid cell of a token.
  With learned variance (PixArt) its channels are included.
* The pool has a share `pool` of all tokens. A share `destinations` of all tokens is drawn from it again at every step
  and site, from the seed of the image. Both halves of guidance have the same pool and the same draw.
* Unimportant sources are merged first, in order of similarity, then important ones. If the ratio requires fewer merges
  than there are unimportant tokens, the least similar of these are not merged.
* Similarity is the cosine on the input of the block and only the top level is merged, as in ToMeSD.

Calls with more than two rows need `retom.set_seeds` with one seed per image, which determines the number of branches.
The benchmark calls it. Two rows without seeds are one image with guidance. Matching costs N_src * N_dst * C, quadratic
in N as in ToMeSD.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from baselines.parts.bipartite import BipartiteMerger
from baselines.parts.matching import first_merged, match, truncated
from retom.checks import check_number
from retom.method import SiteContext
from retom.plans.merge_plan import MergePlan
from retom.plans.representative import num_sources
from retom.rng import uniform_index


@dataclass(frozen=True)
class IBTM(BipartiteMerger):
    """Bipartite merging into random important tokens.

    Attributes:
        ratio: share of all tokens removed, in [0, 1 - destinations].
        pool: share of all tokens that are important, in [destinations, 1].
        destinations: share of all tokens that are destinations, in (0, 1).
        targets, max_downsample: see `BipartiteMerger`.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    pool: float = 0.5
    destinations: float = 0.25
    needs_output = True
    branches = (1, 2)

    def __post_init__(self):
        super().__post_init__()
        check_number("destinations", self.destinations, "(0, 1)")
        check_number("ratio", self.ratio, "[0, 1)")
        check_number("pool", self.pool, "(0, 1]")
        if self.ratio > 1 - self.destinations + 1e-9:
            raise ValueError(
                f"ratio must be in [0, {1 - self.destinations:.4g}] with destinations={self.destinations} "
                f"(destinations are not merged), got {self.ratio}"
            )
        if self.pool < self.destinations:
            raise ValueError(
                f"pool must be in [{self.destinations}, 1], since destinations are drawn from it, got {self.pool}"
            )

    def check_model(self, denoiser: nn.Module) -> None:
        """ValueError for Flux, where all tokens are equally important."""
        if isinstance(denoiser, FluxTransformer2DModel):
            raise ValueError(
                "ibtm ranks tokens by the effect of guidance, but a FluxTransformer2DModel makes one guided prediction "
                "without halves to compare; use tomesd_plan, which is equivalent in this case"
            )

    def matched(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan:
        """Merge into destinations drawn from the important tokens; unimportant sources first."""
        batch, num_tokens, _ = metric.shape
        count = max(1, truncated(self.destinations, grid))
        removed = min(num_sources(self.ratio, num_tokens), num_tokens - count)
        if removed == 0:
            return MergePlan.identity(batch, num_tokens, metric.device)
        important = self._important(grid, num_tokens, context)
        every = torch.arange(num_tokens, device=metric.device)
        drawn = uniform_index(context.seeds, context.step, context.layer, every, 1 << 31)  # [B, N]
        drawn = drawn.masked_fill(~important, -1).sort(dim=1, descending=True, stable=True).indices
        matching = match(metric, drawn[:, :count])
        # Similarities are in [-1, 1], so adding 4 puts all unimportant sources first.
        score = matching.similarity + 4.0 * ~important.gather(1, matching.sources)
        return first_merged(matching, score, removed, backend=context.backend)

    def _important(self, grid: tuple[int, int], num_tokens: int, context: SiteContext) -> Tensor:
        """Which tokens are in the pool, [B, N] bool; all of them if importance is undefined."""
        seeds, output = context.seeds, context.output
        everyone = torch.ones(len(seeds), num_tokens, dtype=torch.bool, device=seeds.device)
        unguided = context.rows is not None and context.rows.branches == 1
        if unguided or output is None or output.ndim != 4 or len(output) % 2 or len(output) != len(seeds):
            return everyone
        rank = importance(output, grid).sort(dim=1, descending=True, stable=True).indices
        size = max(1, truncated(self.destinations, grid), truncated(self.pool, grid))
        pool = torch.zeros_like(everyone).scatter_(1, rank[:, :size], True)
        first, second = seeds.chunk(2)
        return pool | (first != second).any()


def importance(output: Tensor, grid: tuple[int, int]) -> Tensor:
    """Magnitude of the guidance difference on a token grid (H, W).

    Args:
        output: the output of the denoiser for both halves of guidance, [2 n, C, h, w].
        grid: (H, W).

    Returns:
        [2 n, H * W] float32, the same for both halves.
    """
    first, second = output.float().chunk(2)
    magnitude = torch.linalg.vector_norm(first - second, dim=1, keepdim=True)  # [n, 1, h, w]
    return F.adaptive_avg_pool2d(magnitude, grid).flatten(1).repeat(2, 1)
