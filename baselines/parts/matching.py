"""Bipartite soft matching, used by several methods: each source is matched with its most similar destination.

`baselines.tomesd` has its own version with the sorts of the `tomesd` package. Here all sorts are stable.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from retom.method import SiteContext
from retom.plans.merge_plan import MergePlan
from retom.plans.windows import Region
from retom.rng import uniform_index
from retom.tracing import constant


class Matching(NamedTuple):
    """Sources and destinations as ascending token numbers, [B, S] and [B, D]; for each source the index of its most
    similar destination in `destinations` and their cosine similarity, both [B, S]."""

    sources: Tensor
    destinations: Tensor
    nearest: Tensor
    similarity: Tensor


def full_windows(grid: tuple[int, int], sides: tuple[int, int]) -> Region:
    """The windows of sides (height, width) that fit into the grid. Sides are limited to those of the grid, as in ReToM.

    Tokens at the right and bottom edge that are not in a full window are not included.
    """
    tall, wide = min(sides[0], grid[0]), min(sides[1], grid[1])
    return Region(0, 0, grid[0] // tall, grid[1] // wide, tall, wide)


def window_destinations(
    grid: tuple[int, int], sides: tuple[int, int], batch: int, context: SiteContext, use_rand: bool
) -> Tensor:
    """One token number of every full window, [B, windows], as in ToMeSD.

    It is drawn from the seed of the image, the step and the layer, or it is the top left token. Tokens that are not in
    a full window are never destinations.
    """
    region = full_windows(grid, sides)
    tokens = region.tokens(grid, context.seeds.device)  # [windows, size]
    if not use_rand:
        return tokens[:, 0].expand(batch, -1)
    window = torch.arange(region.num_windows, device=tokens.device)
    inside = uniform_index(context.seeds, context.step, context.layer, window, region.size)  # [B, windows]
    return tokens.expand(batch, -1, -1).gather(2, inside[..., None])[..., 0]


@constant
def truncated(share: float, grid: tuple[int, int]) -> int:
    """int(share * N) for a grid of N tokens in floating point, as in the `tomesd` package: 28 for 0.29 of 100 tokens,
    where ReToM has 29. `torch.compile` calls this while tracing and traces only the integer.
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
    """Merge the `removed` sources with the highest scores into their destinations; the others have their own slots.

    Args:
        matching: from `match`.
        score: [B, S]; ties go to the lower token number.
        removed: in [1, S].
        averaged: [B, S] bool, the sources whose values enter the mean of their slot; None for all.
        backend: the backend that executes the plan.
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
