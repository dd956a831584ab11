"""ToDo: Token Downsampling (arXiv 2402.13573): attention on a coarser grid of keys and values, with all queries.

Keys and values are taken from every f-th token of every f-th row (nearest neighbour); queries stay whole, so nothing is
unmerged and no similarity is computed. The factor f is given as the share of keys and values left out, 1 - 1 / f^2: the
released demo has f = 2 (0.75) at 1024 pixels, 3 (0.8889) at 1536 and 4 (0.9375) at 2048, at the top level, and one more
factor for the level below.

What is chosen here: the side of the coarser grid is floor(side / f), so a share that is no 1 - 1 / f^2 of a whole f
takes tokens at uneven distances and leaves out a little more than asked. The release can change to another method for
the last part of the steps; here all steps are alike.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.selection import SelectionPlan
from retom.checks import check_number
from retom.method import SiteContext, TokenMerger, check_merger


@dataclass(frozen=True)
class ToDo(TokenMerger):
    """Strided keys and values.

    Attributes:
        ratio: share of keys and values left out at the top level, in [0, 1); factor 2 is 0.75.
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
        """Whether that level leaves anything out."""
        return self._ratio(downsample) > 0

    @property
    def merges(self) -> bool:
        """Whether either level leaves anything out."""
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
    """One side of the coarser grid: the places kept, [m], and for each place the last kept one up to it, [side].

    m = floor(side * sqrt(1 - ratio)), at least 1; place i of it is floor(i * side / m), as nearest-neighbour
    interpolation takes it.
    """
    left = _left(side, ratio)
    kept = torch.arange(left, device=device) * side // left
    slot = torch.searchsorted(kept, torch.arange(side, device=device), right=True) - 1
    return kept, slot


@torch.compiler.assume_constant_result
def _left(side: int, ratio: float) -> int:
    """m of `nearest`. `torch.compile` calls this as it stands and traces the integer alone."""
    # A whole factor must not lose a row to rounding: sqrt(1 - 8/9) * 192 is 63.999...
    return max(1, math.floor(side * math.sqrt(1 - ratio) + 1e-6))
