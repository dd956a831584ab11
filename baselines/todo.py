"""ToDo: Token Downsampling (arXiv 2402.13573): attention on a coarser grid of keys and values, with all queries.

Keys and values are taken from every f-th token of every f-th row (nearest neighbour). All queries are used, so nothing
is unmerged and no similarity is computed. The factor f is specified as the share of keys and values dropped, 1 - 1 /
f^2. The released demo has f = 2 (0.75) at 1024 pixels, 3 (0.8889) at 1536 and 4 (0.9375) at 2048 at the top level, and
one more factor for the level below.

Choices of this file: the side of the coarser grid is floor(side / f), so a share that is not 1 - 1 / f^2 for an integer
f takes tokens at uneven distances and drops slightly more than requested. The release can switch to another method for
the last steps. Here all steps are treated alike.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.parts.selection import SelectionPlan
from retom.checks import check_number
from retom.method import SiteContext, TokenMerger, check_merger
from retom.tracing import constant


@dataclass(frozen=True)
class ToDo(TokenMerger):
    """Strided keys and values.

    Attributes:
        ratio: share of keys and values dropped at the top level, in [0, 1); factor 2 is 0.75.
        ratio_level_2: the same one level below.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.75
    ratio_level_2: float = 0.0
    targets = ("self_kv",)

    def __post_init__(self):
        check_merger(self)
        for name in ("ratio", "ratio_level_2"):
            check_number(name, getattr(self, name), "[0, 1)")

    def reaches(self, downsample: int) -> bool:
        """Whether keys and values are dropped at that level."""
        return self._ratio(downsample) > 0

    @property
    def merges(self) -> bool:
        """Whether keys and values are dropped at either level."""
        return self.ratio > 0 or self.ratio_level_2 > 0

    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> SelectionPlan | None:
        """Plan one site; None below the second level."""
        if not self.reaches(context.downsample):
            return None
        ratio = self._ratio(context.downsample)
        rows, columns = (nearest(side, ratio, metric.device) for side in grid)
        kept_rows, row = rows
        kept_columns, column = columns
        kept = (kept_rows[:, None] * grid[1] + kept_columns).flatten()  # [M]
        slot = (row[:, None] * len(kept_columns) + column).flatten()  # [N]
        batch = metric.shape[0]
        return SelectionPlan(slot.expand(batch, -1), kept.expand(batch, -1), kept.numel())

    def _ratio(self, downsample: int) -> float:
        return {1: self.ratio, 2: self.ratio_level_2}.get(downsample, 0.0)


def nearest(side: int, ratio: float, device: torch.device | str) -> tuple[Tensor, Tensor]:
    """One side of the coarser grid: the kept positions, [m], and for each position the last kept one up to it, [side].

    m = floor(side * sqrt(1 - ratio)), at least 1; the i-th kept position is floor(i * side / m), as in
    nearest-neighbour interpolation.
    """
    left = _left(side, ratio)
    kept = torch.arange(left, device=device) * side // left
    slot = torch.searchsorted(kept, torch.arange(side, device=device), right=True) - 1
    return kept, slot


@constant
def _left(side: int, ratio: float) -> int:
    """m of `nearest`. `torch.compile` calls this while tracing and traces only the integer."""
    # An integer factor must not lose a row to rounding: sqrt(1 - 8/9) * 192 is 63.999...
    return max(1, math.floor(side * math.sqrt(1 - ratio) + 1e-6))
