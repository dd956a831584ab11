"""Bipartite soft matching as several peers use it: each source knows its most similar destination.

`baselines.tomesd` has its own, whose sorts are those of the `tomesd` package; here every order is a stable one.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from retom.method import SiteContext
from retom.plan import MergePlan
from retom.rng import uniform_index
from retom.windows import Region


class Matching(NamedTuple):
    """Sources and destinations as ascending token numbers, [B, S] and [B, D]; of each source the destination it is most
    similar to (a place in `destinations`) and their cosine similarity, [B, S] both."""

    sources: Tensor
    destinations: Tensor
    nearest: Tensor
    similarity: Tensor


def full_windows(grid: tuple[int, int], sides: tuple[int, int]) -> Region:
    """The windows of sides (height, width) that fit into the grid; one larger than the grid is cut to it, as in ReToM.

    Tokens at the right and bottom edge that no whole window holds are outside.
    """
    tall, wide = min(sides[0], grid[0]), min(sides[1], grid[1])
    return Region(0, 0, grid[0] // tall, grid[1] // wide, tall, wide)


def window_destinations(
    grid: tuple[int, int], sides: tuple[int, int], batch: int, context: SiteContext, use_rand: bool
) -> Tensor:
    """One token number of every whole window, [B, windows], as in ToMeSD.

    Drawn from the image's seed, the step and the layer, or the top left token. Tokens that no whole window holds are
    nobody's destination.
    """
    region = full_windows(grid, sides)
    tokens = region.tokens(grid, context.seeds.device)  # [windows, size]
    if not use_rand:
        return tokens[:, 0].expand(batch, -1)
    window = torch.arange(region.num_windows, device=tokens.device)
    inside = uniform_index(context.seeds, context.step, context.layer, window, region.size)  # [B, windows]
    return tokens.expand(batch, -1, -1).gather(2, inside[..., None])[..., 0]


@torch.compiler.assume_constant_result
def truncated(share: float, grid: tuple[int, int]) -> int:
    """int(share * N) over a grid of N tokens as floats multiply, which is how the `tomesd` package counts: 28 for 0.29
    of 100 tokens, where ReToM counts 29. `torch.compile` calls this as it stands and traces the integer alone.
    """
    return int(grid[0] * grid[1] * share)


def match(metric: Tensor, destinations: Tensor) -> Matching:
    """Match all tokens of metric [B, N, C] that are not among `destinations` [B, D] with those that are."""
    batch, num_tokens, channels = metric.shape
    chosen = torch.zeros(batch, num_tokens, dtype=torch.int64, device=metric.device).scatter_(1, destinations, 1)
    by_kind = chosen.sort(dim=1, stable=True).indices
    sources, destinations = by_kind.split([num_tokens - destinations.shape[1], destinations.shape[1]], dim=1)
    unit = F.normalize(metric.float(), dim=-1)
    left, right = (unit.gather(1, index[..., None].expand(-1, -1, channels)) for index in (sources, destinations))
    similarity, nearest = (left @ right.transpose(1, 2)).max(dim=2)  # over [B, S, D]
    return Matching(sources, destinations, nearest, similarity)


def first_merged(
    matching: Matching, score: Tensor, removed: int, averaged: Tensor | None = None, backend: str = "gather"
) -> MergePlan:
    """Merge the `removed` sources of the highest score into their destinations; the others keep slots of their own.

    Args:
        matching: from `match`.
        score: [B, S]; ties go to the lower token number.
        removed: in [1, S].
        averaged: [B, S] bool, the sources whose values enter the mean of their slot; all of them when None.
        backend: how the plan is executed.
    """
    sources, destinations, nearest, _ = matching
    rank = score.sort(dim=1, descending=True, stable=True).indices
    merged, alone = rank[:, :removed], rank[:, removed:].sort(dim=1).values
    tokens = torch.cat([destinations, sources.gather(1, alone), sources.gather(1, merged)], dim=1)  # [B, N]
    kept = tokens.shape[1] - removed
    own = torch.arange(kept, device=tokens.device).expand(len(tokens), -1)
    slots = torch.cat([own, nearest.gather(1, merged)], dim=1)
    assign = torch.empty_like(slots).scatter_(1, tokens, slots)
    weight = None
    if averaged is not None:
        enters = torch.cat([torch.ones_like(own), averaged.gather(1, merged).long()], dim=1)  # [B, N], as `tokens`
        count = torch.zeros_like(own).scatter_add_(1, slots, enters)  # [B, M]
        share = enters / count.gather(1, slots)
        weight = torch.zeros(share.shape, device=share.device).scatter_(1, tokens, share)
    return MergePlan.from_clusters(assign, weight, tokens[:, :kept], backend=backend)
