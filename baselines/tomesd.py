"""ToMeSD (Token Merging for Fast Stable Diffusion, arXiv 2303.17604) with the plans of this project.

One token of every sx x sy window is a destination, every other token a source; tokens at the right and bottom edge that
fill no window are sources. Each source is matched with its most similar destination in the grid, and the r sources with
the most similar destinations are averaged into them. Without randomness this equals the `tomesd` package bit for bit on
the CPU in float32. There are three differences: a ratio that the package would cap silently is an error, an odd batch
has random destinations too, and destinations are drawn for every image from its own seed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor

from baselines.parts.bipartite import BipartiteMerger
from baselines.parts.checks import check_integers, check_ratio
from baselines.parts.matching import truncated, window_destinations
from retom.checks import check_flag
from retom.method import SiteContext
from retom.plans.merge_plan import MergePlan
from retom.plans.windows import check_window


@dataclass(frozen=True)
class ToMeSD(BipartiteMerger):
    """Random bipartite merging, with similarity on the input of the block.

    Attributes:
        ratio: share of all tokens removed, in [0, 1 - 1 / (sx * sy)].
        sx, sy: width and height of a window in tokens.
        window: instead of sx and sy, one side or one for each of down, mid and up, which the package does not have.
        use_rand: draw the destination of each window again at every step and site; otherwise it is the top left token.
        targets, max_downsample: see `BipartiteMerger`.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    sx: int = 2
    sy: int = 2
    window: int | Mapping[str, int] | None = field(default=None, hash=False)
    use_rand: bool = True

    def __post_init__(self):
        super().__post_init__()
        check_integers(self, sx=1, sy=1)
        check_flag("use_rand", self.use_rand)
        if self.window is not None:
            if (self.sx, self.sy) != (2, 2):
                raise ValueError(
                    f"pass window or sx and sy, not both: got window={self.window!r}, {self.sx}, {self.sy}"
                )
            object.__setattr__(self, "window", check_window(self.window))
        check_ratio(self.ratio, self._areas())

    def matched(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan:
        """Merge the r sources with the most similar destinations."""
        batch, num_tokens, _ = metric.shape
        places = window_destinations(grid, self._sides(context.layer_type), batch, context, self.use_rand)
        removed = min(truncated(self.ratio, grid), num_tokens - places.shape[1])
        if removed == 0:
            return MergePlan.identity(batch, num_tokens, metric.device)
        return self._made(bipartite(metric, places, removed), context)

    def _made(self, clusters: "Clusters", context: SiteContext) -> MergePlan:
        """The plan for the matched clusters, which are averaged."""
        assign, kept, order = clusters
        return MergePlan.from_clusters(assign, None, kept, order=order, backend=context.backend)

    def _areas(self) -> dict[str, int]:
        """Tokens of a window, by its name in error messages."""
        if self.window is None:
            return {f"sx={self.sx}, sy={self.sy}": self.sx * self.sy}
        if isinstance(self.window, int):
            return {f"window={self.window}": self.window**2}
        return {f"window {layer_type}={side}": side**2 for layer_type, side in self.window.items()}

    def _sides(self, layer_type: str) -> tuple[int, int]:
        if self.window is None:
            return self.sy, self.sx
        side = self.window if isinstance(self.window, int) else self.window[layer_type]
        return side, side


class Clusters(NamedTuple):
    """The slot of each token [B, N]; the kept token of each slot [B, M]; tokens in the order of summation [B, N]."""

    assign: Tensor
    kept: Tensor
    order: Tensor


def bipartite(metric: Tensor, destinations: Tensor, removed: int) -> Clusters:
    """Assign the sources that are most similar to their nearest destination to its slot.

    Args:
        metric: [B, N, C].
        destinations: token numbers, [B, D] int64; all other tokens are sources.
        removed: how many sources are merged, in [1, N - D].
    """
    batch, num_tokens, _ = metric.shape
    # Neither sort is stable, on purpose: these are the calls of the package, so ties have its order on any machine.
    kind = torch.zeros(batch, num_tokens, dtype=torch.int64, device=metric.device).scatter_(1, destinations, -1)
    by_kind = kind[..., None].argsort(dim=1)[..., 0]
    destinations, sources = by_kind.tensor_split([destinations.shape[1]], dim=1)
    best, nearest = _nearest(metric, sources, destinations)
    rank = best.argsort(dim=-1, descending=True)
    merged, alone = rank[:, :removed], rank[:, removed:]
    # Slots are numbered and tokens summed in the order of the package: sources that are not merged, then destinations.
    first = alone.shape[1]
    kept = torch.cat([sources.gather(1, alone), destinations], dim=1)  # [B, M]
    tokens = torch.cat([kept, sources.gather(1, merged)], dim=1)  # [B, N]
    own = torch.arange(kept.shape[1], device=metric.device).expand(batch, -1)
    slots = torch.cat([own, first + nearest.gather(1, merged)], dim=1)
    return Clusters(
        assign=torch.empty_like(slots).scatter_(1, tokens, slots),
        kept=kept,
        order=tokens.gather(1, slots.argsort(dim=1, stable=True)),
    )


def _nearest(metric: Tensor, sources: Tensor, destinations: Tensor) -> tuple[Tensor, Tensor]:
    """Similarity of each source with its most similar destination, and the index of that destination, each [B, S].

    The operations and operands are those of the package, so that rounding is the same.
    """
    metric = metric / metric.norm(dim=-1, keepdim=True)
    left, right = (
        metric.gather(1, index[..., None].expand(-1, -1, metric.shape[-1])) for index in (sources, destinations)
    )
    scores = left @ right.transpose(-1, -2)  # [B, S, D]
    return scores.max(dim=-1)
