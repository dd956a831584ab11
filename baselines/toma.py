"""ToMA: Token Merge with Attention (arXiv 2509.10918, ICML 2025).

Destinations are the tokens that best represent the others, selected one by one to increase a facility location function
over cosine similarity: sum_i max_{j in D} s_ij. A = softmax over destinations of scale * D X^T spreads every token over
the destinations. The rows of A divided by their sums merge, and A transposed unmerges. Both are matrix products in
tiles or stripes of the grid. Destinations and A are reused over steps and shared by the blocks of one transformer.

The full text of the paper and its SDXL code were not available. This file follows the abstract and the released code
(Flux only). Differences and choices:
* A is computed from unit tokens with scale 1,000, as released, which is nearly a hard assignment.
* The released code specifies tiles and stripes by their number, 64 or 256 for a 64 x 64 grid. Here `side` is in tokens,
  so a coarser grid has fewer tiles of the same size. A side of 8 gives 64 tiles at 64 x 64.
* The released code uses the destinations of the first sample for the complete batch. Here every row has its own. Use
  `first_sample_only` for the released behaviour (an image then depends on its neighbours, hence `batch_limit`).
* For two tokens nearest to each other the gain is the same up to rounding. Such ties go to the lower index.
* A token is selected once, even if no gain is left (equal tokens). The released code may select it again.
* The released code has r // tiles destinations per tile. Here a region of n tokens has n - floor(ratio * n), as in
  ReToM.
* Self-attention is merged, at every depth, from the first step on. Periods 10 and 5 are our choice (the released
  configuration has one period of 3), and so is sharing plans within one transformer only.

A tile of n tokens costs n^2 C for similarities and n^2 per selected token: N n^2 / 2 for N / n tiles with half of their
tokens selected. Merging costs M n C. One global region is cubic in N. `torch.compile` unrolls the loop of selections.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.parts.checks import check_integers
from retom.checks import as_tuple, check_choice, check_flag, check_number
from retom.method import SiteContext, TokenMerger, check_merger
from retom.plans.dense import DensePlan
from retom.plans.merge_plan import MergePlan
from retom.plans.representative import num_sources
from retom.plans.windows import Region, tile

REGIONS = ("tile", "stripe", "global")
UNMERGES = ("transpose", "pinv")
_ROUNDING = 1e-6  # of one cosine in float32


@dataclass(frozen=True)
class ToMA(TokenMerger):
    """Soft merging into destinations selected by greedy facility location.

    Attributes:
        ratio: share of tokens removed in every region, in [0, 1).
        region: "tile" (squares), "stripe" (full rows) or "global".
        side: side of a tile, or rows of a stripe, in tokens, limited to the grid; not used with "global".
        scale: factor of cosine similarities before the softmax; the larger, the harder.
        unmerge: "transpose" of A, or "pinv", the pseudo-inverse of the merging matrix.
        destination_period: number of denoiser calls after which destinations are selected again; a multiple of
            `weight_period`.
        weight_period: number of denoiser calls after which A is computed again.
        share_plan: whether all blocks of one transformer use the plan of the first.
        first_sample_only: whether all rows use the destinations of the first, as in the released code.
        metric: what similarity is computed on, "attn_input" or "block_input".
        targets: the sub-layers that run on merged tokens, of "self" or "self_kv", "cross", "ff".
        max_downsample: sites with coarser grids are not merged; None merges at every depth.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    region: str = "tile"
    side: int = 8
    scale: float = 1000.0
    unmerge: str = "transpose"
    destination_period: int = 10
    weight_period: int = 5
    share_plan: bool = True
    first_sample_only: bool = False
    metric: str = "attn_input"
    targets: tuple[str, ...] = ("self",)
    max_downsample: int | None = None

    def __post_init__(self):
        object.__setattr__(self, "targets", as_tuple(self.targets))
        check_integers(self, side=1, destination_period=1, weight_period=1)
        check_flag("first_sample_only", self.first_sample_only)
        check_merger(self)
        check_number("ratio", self.ratio, "[0, 1)")
        check_number("scale", self.scale, "(0, inf)")
        for name, allowed in (("region", REGIONS), ("unmerge", UNMERGES)):
            check_choice(name, getattr(self, name), allowed)
        if self.destination_period % self.weight_period:
            raise ValueError(
                f"destination_period must be a multiple of weight_period {self.weight_period}, since weights belong to "
                f"destinations, got {self.destination_period}"
            )

    @property
    def period(self) -> int:
        """`plan` is called as often as A is computed."""
        return self.weight_period

    @property
    def cycle(self) -> int:
        """The period of selecting destinations, which costs most and is longer than that of A."""
        return self.destination_period

    @property
    def batch_limit(self) -> int | None:
        """Images per call up to which an image depends only on its own seed; None: any number."""
        return 1 if self.first_sample_only and self.ratio > 0 else None

    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> DensePlan | MergePlan | None:
        """Plan one site; None below `max_downsample`."""
        if not self.reaches(context.downsample):
            return None
        regions = cut(grid, self.region, self.side)
        kept = [region.size - num_sources(self.ratio, region.size) for region in regions]
        if all(count == region.size for count, region in zip(kept, regions, strict=True)):
            return MergePlan.identity(metric.shape[0], metric.shape[1], metric.device)
        with torch.no_grad():
            tokens = [region.tokens(grid, metric.device) for region in regions]
            unit = F.normalize(metric.float(), dim=-1)
            tiles = [unit[:, numbers] for numbers in tokens]  # each [B, windows, n, C]
            places = self._places(tiles, kept, context)
            blocks = tuple(self._block(x, place) for x, place in zip(tiles, places, strict=True))
            dst_index = torch.cat([_numbers(*pair) for pair in zip(tokens, places, strict=True)], dim=1)
        order = None if self.region != "tile" else torch.cat([numbers.flatten() for numbers in tokens])
        return DensePlan(blocks, dst_index, order)

    def _places(self, tiles: list[Tensor], kept: list[int], context: SiteContext) -> tuple[Tensor, ...]:
        """The position of each destination in its window, [B, windows, m] for each region; cached for a period."""
        if "places" not in context.memory or context.step % self.destination_period == 0:
            rows = slice(0, 1) if self.first_sample_only else slice(None)
            context.memory["places"] = tuple(
                facility_location(x[rows].flatten(0, 1), count).unflatten(0, (-1, x.shape[1])).expand(len(x), -1, -1)
                for x, count in zip(tiles, kept, strict=True)
            )
        return context.memory["places"]

    def _block(self, x: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """Merging [B, windows, m, n] and unmerging [B, windows, n, m] matrices of tiles x [B, windows, n, C]."""
        size = x.shape[2]
        if place.shape[2] == size:  # the region is too small for a merge
            every = torch.eye(size, device=x.device).expand(*x.shape[:2], -1, -1)
            return every, every
        destinations = x.gather(2, place[..., None].expand(-1, -1, -1, x.shape[-1]))
        weight = torch.softmax(self.scale * (destinations @ x.transpose(2, 3)), dim=2)
        # No row is empty: a destination is also a token, and most similar to itself.
        merge = weight / weight.sum(dim=3, keepdim=True)
        return merge, weight.transpose(2, 3) if self.unmerge == "transpose" else torch.linalg.pinv(merge)


def cut(grid: tuple[int, int], region: str, side: int) -> tuple[Region, ...]:
    """The regions of a grid (H, W): squares of `side`, stripes of `side` rows, or all of it; smaller at the edges."""
    height, width = grid
    if region == "tile":
        return tile(grid, side)
    rows = height if region == "global" else min(side, height)
    full, rest = divmod(height, rows)
    regions = (Region(0, 0, full, 1, rows, width),)
    return (*regions, Region(full * rows, 0, 1, 1, rest, width)) if rest else regions


def facility_location(unit: Tensor, count: int) -> Tensor:
    """Select `count` of n tokens greedily, for all windows in parallel.

    The first has the largest sum of similarities; each next one has the largest gain sum_i max(0, s_ij - best_i), where
    best_i is the highest similarity of token i with a selected token.

    Args:
        unit: tokens of norm 1, [windows, n, C].
        count: in [1, n].

    Returns:
        Positions in the window, ascending, [windows, count] int64.
    """
    similarity = unit @ unit.transpose(1, 2)  # [windows, n, n]
    pick = _first_largest(similarity.sum(dim=2))
    picks, best, taken = [pick], None, torch.zeros(similarity.shape[:2], dtype=torch.bool, device=unit.device)
    for _ in range(1, count):
        row = similarity.gather(1, pick[..., None].expand(-1, -1, similarity.shape[2]))  # [windows, 1, n]
        best = row if best is None else torch.maximum(best, row)
        taken = taken.scatter(1, pick, True)
        gain = (similarity - best).clamp(min=0).sum(dim=2)
        pick = _first_largest(gain.masked_fill(taken, -1.0))
        picks.append(pick)
    return torch.cat(picks, dim=1).sort(dim=1).values


def _first_largest(score: Tensor) -> Tensor:
    """The lowest position whose score [windows, n], a sum of n cosines, is the maximum up to rounding; [windows, 1]."""
    place = torch.arange(score.shape[1], device=score.device)
    near = score >= score.amax(dim=1, keepdim=True) - _ROUNDING * score.shape[1]
    return place.where(near, score.shape[1]).amin(dim=1, keepdim=True)


def _numbers(tokens: Tensor, place: Tensor) -> Tensor:
    """Token numbers [B, windows * m] of positions [B, windows, m] in windows of tokens [windows, n]."""
    return tokens.expand(place.shape[0], -1, -1).gather(2, place).flatten(1)
