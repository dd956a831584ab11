"""ToMA: Token Merge with Attention (arXiv 2509.10918, ICML 2025).

Destinations are the tokens that represent the others best, picked one by one to raise a facility location function
over cosine similarity: sum_i max_{j in D} s_ij. Then A = softmax over destinations of scale * D X^T spreads every token
over the destinations, the rows of A divided by their sums merge, and A transposed unmerges. Both are matrix products,
confined to tiles or stripes of the grid; destinations and A are kept over steps and shared by the blocks of one
transformer.

The paper's full text and its SDXL code were not at hand. This follows its abstract and the mechanism, for which the
released code (Flux alone) is the witness; where the two leave a choice open:
* A is measured on unit tokens with scale 1,000, as released, which is nearly a hard assignment.
* The released code numbers tiles and stripes by their count, 64 or 256 for a 64 x 64 grid; here `side` is in tokens,
  so that a coarser grid has fewer tiles of the same size. A side of 8 is 64 tiles at 64 x 64.
* It takes the first sample's destinations for the whole batch; here every row has its own, `first_sample_only` does
  what is released (an image then depends on its neighbours, hence `batch_limit`).
* Two tokens nearest to each other gain the same, up to rounding, whichever is picked: such ties go to the lower index.
* A token is picked once even where nothing is left to gain (equal tokens); the released code may pick it again.
* It forms r // tiles destinations per tile; here a region of n tokens keeps n - floor(ratio * n), as in ReToM.
* Merging is on for self-attention alone, at every depth, from the first step on. Periods 10 and 5 are our choice (the
  released configuration has one period of 3), and so is sharing between the blocks of one transformer and no further.

A tile of n tokens costs n^2 C for similarities and n^2 per pick; N / n tiles with half of their tokens picked make
N n^2 / 2, and merging M n C. One global region is cubic in N, and picks are a loop that `torch.compile` unrolls.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from baselines.checks import check_integers
from retom.checks import as_tuple, check_choice, check_flag, check_number
from retom.dense import DensePlan
from retom.method import SiteContext, TokenMerger, check_merger
from retom.plan import MergePlan
from retom.representative import num_sources
from retom.windows import Region, tile

REGIONS = ("tile", "stripe", "global")
UNMERGES = ("transpose", "pinv")
_ROUNDING = 1e-6  # of one cosine in float32


@dataclass(frozen=True)
class ToMA(TokenMerger):
    """Soft merging into destinations of greedy facility location.

    Attributes:
        ratio: share of tokens removed in every region, in [0, 1).
        region: "tile" (squares), "stripe" (whole rows) or "global".
        side: side of a tile, or rows of a stripe, in tokens, cut to the grid; "global" has no use for it.
        scale: what cosine similarities are multiplied with before the softmax; the larger, the harder.
        unmerge: "transpose" of A, or "pinv", the pseudo-inverse of the merging matrix.
        destination_period: destinations are picked anew every so many denoiser calls; a multiple of `weight_period`.
        weight_period: A is measured anew every so many denoiser calls.
        share_plan: the blocks of one transformer all use the plan of the first.
        first_sample_only: the first row's destinations are everybody's, as in the released code.
        metric: what similarity is measured on, "attn_input" or "block_input".
        targets: the sub-layers that run on merged tokens, of "self" or "self_kv", "cross", "ff".
        max_downsample: leave grids coarser than this alone; None merges at every depth.

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
        """`plan` is asked as often as A is measured."""
        return self.weight_period

    @property
    def cycle(self) -> int:
        """Picking destinations costs most, and they are kept longer than A."""
        return self.destination_period

    @property
    def batch_limit(self) -> int | None:
        """Images of one call up to which an image is a function of its own seed alone; None: any number."""
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
        """Where in its window each destination lies, [B, windows, m] for each region; kept for a destination period."""
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
        if place.shape[2] == size:  # too small a region to lose a token
            every = torch.eye(size, device=x.device).expand(*x.shape[:2], -1, -1)
            return every, every
        destinations = x.gather(2, place[..., None].expand(-1, -1, -1, x.shape[-1]))
        weight = torch.softmax(self.scale * (destinations @ x.transpose(2, 3)), dim=2)
        # No row is empty: a destination is a token as well, and most similar to itself.
        merge = weight / weight.sum(dim=3, keepdim=True)
        return merge, weight.transpose(2, 3) if self.unmerge == "transpose" else torch.linalg.pinv(merge)


def cut(grid: tuple[int, int], region: str, side: int) -> tuple[Region, ...]:
    """The regions of a grid (H, W): squares of `side`, stripes of `side` rows, or the whole; smaller at the edges."""
    height, width = grid
    if region == "tile":
        return tile(grid, side)
    rows = height if region == "global" else min(side, height)
    whole, rest = divmod(height, rows)
    regions = (Region(0, 0, whole, 1, rows, width),)
    return (*regions, Region(whole * rows, 0, 1, 1, rest, width)) if rest else regions


def facility_location(unit: Tensor, count: int) -> Tensor:
    """Pick `count` of n tokens greedily, for every window at once.

    The first has the largest sum of similarities; each next one has the largest gain sum_i max(0, s_ij - best_i), where
    best_i is the similarity of token i with its best pick so far.

    Args:
        unit: tokens of norm 1, [windows, n, C].
        count: in [1, n].

    Returns:
        Places in the window, ascending, [windows, count] int64.
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
    """The lowest place whose score [windows, n], a sum of n cosines, is the largest up to rounding; [windows, 1]."""
    place = torch.arange(score.shape[1], device=score.device)
    near = score >= score.amax(dim=1, keepdim=True) - _ROUNDING * score.shape[1]
    return place.where(near, score.shape[1]).amin(dim=1, keepdim=True)


def _numbers(tokens: Tensor, place: Tensor) -> Tensor:
    """Token numbers [B, windows * m] of places [B, windows, m] in windows of tokens [windows, n]."""
    return tokens.expand(place.shape[0], -1, -1).gather(2, place).flatten(1)
