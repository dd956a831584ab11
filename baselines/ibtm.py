"""IBTM: Importance-Based Token Merging (arXiv 2411.16720, ICCV 2025).

A token matters as much as guidance moves it: its importance is the magnitude of the difference between the conditional
and the unconditional prediction. The most important tokens form a pool; destinations are drawn from it at random, the
rest of the pool are sources. Each source is matched with its most similar destination; unimportant tokens are merged,
important sources only as far as the ratio asks for it, so that those without a good match stay on their own.

No code is released and the full text was not at hand; this follows the abstract and the project page. Left open there
and chosen here:
* Importance comes from the denoiser call before, the last one that has finished. At step 0 there is none, and without
  guidance there never is: all tokens are then equally important, the pool is the whole grid, and what is left is ToMeSD
  with destinations drawn from anywhere. SD 3 stacks the branches as U-Nets do. Flux is refused: guidance is one of its
  inputs, and its predictions have no branches to compare. So are three branches (perturbed attention guidance).
* Magnitude is the norm over the channels of the output, averaged over the latent pixels of a token's grid cell. With
  learned variance (PixArt) its channels count as well.
* The pool holds `pool` of all tokens and `destinations` of all tokens are drawn from it, anew at every step and site,
  from the image's own seed; both halves of guidance have the same pool and the same draw.
* Unimportant sources are merged first, the most similar ones first; then important ones. If the ratio asks for fewer
  than there are unimportant tokens, the least similar of these are left alone.
* Similarity is the cosine on the block's input and only the top level merges, as in ToMeSD.

Calls with more than two rows need `retom.set_seeds` (the harness does it), one seed per image: the branches are what
is left. Two rows without seeds are one image with guidance.
Matching costs N_src * N_dst * C, quadratic in N as ToMeSD's.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from diffusers import FluxTransformer2DModel
from torch import Tensor, nn

from baselines.matching import first_merged, match, truncated
from retom.checks import as_tuple, check_number
from retom.method import SiteContext, TokenMerger, check_merger
from retom.plan import MergePlan
from retom.representative import num_sources
from retom.rng import uniform_index


@dataclass(frozen=True)
class IBTM(TokenMerger):
    """Bipartite merging into random important tokens.

    Attributes:
        ratio: share of all tokens removed, in [0, 1 - destinations].
        pool: share of all tokens that are important, in [destinations, 1].
        destinations: share of all tokens that are destinations, in (0, 1).
        targets: the sub-layers that run on merged tokens, of "self" or "self_kv", "cross", "ff".
        max_downsample: leave grids coarser than this alone; None merges at every depth.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    pool: float = 0.5
    destinations: float = 0.25
    targets: tuple[str, ...] = ("self",)
    max_downsample: int | None = 1
    metric = "block_input"
    needs_output = True
    branches = (1, 2)

    def __post_init__(self):
        object.__setattr__(self, "targets", as_tuple(self.targets))
        check_merger(self)
        check_number("destinations", self.destinations, "(0, 1)")
        check_number("ratio", self.ratio, "[0, 1)")
        check_number("pool", self.pool, "(0, 1]")
        if self.ratio > 1 - self.destinations + 1e-9:
            raise ValueError(
                f"ratio must be in [0, {1 - self.destinations:.4g}] with destinations={self.destinations} "
                f"(destinations are not merged away), got {self.ratio}"
            )
        if self.pool < self.destinations:
            raise ValueError(
                f"pool must be in [{self.destinations}, 1], since destinations are drawn from it, got {self.pool}"
            )

    def check_model(self, denoiser: nn.Module) -> None:
        """ValueError for Flux, on which no token is ever more important than another."""
        if isinstance(denoiser, FluxTransformer2DModel):
            raise ValueError(
                "ibtm ranks tokens by what guidance changes, and a FluxTransformer2DModel makes one guided prediction "
                "without halves to compare; take tomesd_plan, which is what would be left of it"
            )

    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan | None:
        """Plan one site; None below `max_downsample`."""
        if not self.reaches(context.downsample):
            return None
        batch, num_tokens, _ = metric.shape
        count = max(1, truncated(self.destinations, grid))
        removed = min(num_sources(self.ratio, num_tokens), num_tokens - count)
        if removed == 0:
            return MergePlan.identity(batch, num_tokens, metric.device)
        with torch.no_grad():
            important = self._important(grid, num_tokens, context)
            every = torch.arange(num_tokens, device=metric.device)
            drawn = uniform_index(context.seeds, context.step, context.layer, every, 1 << 31)  # [B, N]
            drawn = drawn.masked_fill(~important, -1).sort(dim=1, descending=True, stable=True).indices
            matching = match(metric, drawn[:, :count])
            # Similarities lie in [-1, 1], so adding 4 puts all unimportant sources first.
            score = matching.similarity + 4.0 * ~important.gather(1, matching.sources)
            return first_merged(matching, score, removed, backend=context.backend)

    def _important(self, grid: tuple[int, int], num_tokens: int, context: SiteContext) -> Tensor:
        """Which tokens are in the pool, [B, N] bool; all of them where importance is undefined."""
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
        output: what the denoiser returned for both halves of guidance, [2 n, C, h, w].
        grid: (H, W).

    Returns:
        [2 n, H * W] float32, the same for both halves.
    """
    first, second = output.float().chunk(2)
    magnitude = torch.linalg.vector_norm(first - second, dim=1, keepdim=True)  # [n, 1, h, w]
    return F.adaptive_avg_pool2d(magnitude, grid).flatten(1).repeat(2, 1)
