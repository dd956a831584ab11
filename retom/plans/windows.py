"""Windows: non-overlapping s x s tiles of the token grid, with smaller ones at the right and bottom edge.

There is no padding. A grid that s does not divide has up to four regions (inside, right edge, bottom edge, corner). All
windows of a region have the same shape, so all sizes are known without reading data.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from retom.checks import check_integer

LAYER_TYPES = ("down", "mid", "up")


@dataclass(frozen=True)
class Region:
    """A rectangle of the grid that is tiled by equal windows.

    Attributes:
        top, left: first row and column of the rectangle, in tokens.
        rows, columns: number of windows along each side.
        height, width: the size of one window, in tokens.
    """

    top: int
    left: int
    rows: int
    columns: int
    height: int
    width: int

    @property
    def num_windows(self) -> int:
        """Number of windows in the region."""
        return self.rows * self.columns

    @property
    def size(self) -> int:
        """Number of tokens in one window (N_W)."""
        return self.height * self.width

    def tokens(self, grid: tuple[int, int], device: torch.device | str) -> Tensor:
        """Row-major token numbers of every window, [num_windows, size] int64; ascending within a window."""
        rows = torch.arange(self.rows * self.height, device=device) + self.top
        columns = torch.arange(self.columns * self.width, device=device) + self.left
        number = rows[:, None] * grid[1] + columns[None, :]
        tiles = number.view(self.rows, self.height, self.columns, self.width)
        return tiles.permute(0, 2, 1, 3).reshape(self.num_windows, self.size)

    def view(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """The region's part of x [B, N, ...] as a view [B, rows, height, columns, width, ...] that copies nothing."""
        cut: Tensor = x.unflatten(1, grid)
        cut = cut[:, self.top : self.top + self.rows * self.height, self.left : self.left + self.columns * self.width]
        tiles: Tensor = cut.unflatten(2, (self.columns, self.width)).unflatten(1, (self.rows, self.height))
        return tiles


def tile(grid: tuple[int, int], window: int) -> tuple[Region, ...]:
    """Split a grid (H, W) into regions of equal windows of side `window`, which is limited to the sides of the grid."""
    height, width = grid
    side_y, side_x = min(window, height), min(window, width)
    regions = []
    for top, rows, tall in _spans(height, side_y):
        for left, columns, wide in _spans(width, side_x):
            regions.append(Region(top, left, rows, columns, tall, wide))
    return tuple(regions)


def _spans(length: int, side: int) -> list[tuple[int, int, int]]:
    """(start, windows, side) of the full windows along one axis, and of the smaller one at the end, if any."""
    full, rest = divmod(length, side)
    spans = [(0, full, side)]
    return [*spans, (full * side, 1, rest)] if rest else spans


def check_grid(grid: tuple[int, int], num_tokens: int) -> tuple[int, int]:
    """Return the grid as (H, W) ints; ValueError unless H * W is the number of tokens."""
    try:
        height, width = (operator.index(side) for side in grid)
    except (TypeError, ValueError):
        height = width = 0
    if height < 1 or width < 1 or height * width != num_tokens:
        raise ValueError(f"grid must be (H, W) with H * W = {num_tokens} tokens, got {grid!r}")
    return height, width


def check_window(window: int | Mapping[str, int]) -> int | dict[str, int]:
    """Return a valid window size, an int or one for each of down, mid and up; ValueError otherwise."""
    if isinstance(window, Mapping):
        if set(window) != set(LAYER_TYPES):
            raise ValueError(f"window must be an int or have exactly the keys down, mid, up, got {dict(window)!r}")
        return {layer_type: _check_side(window[layer_type]) for layer_type in LAYER_TYPES}
    return _check_side(window)


def _check_side(side: int) -> int:
    check_integer("window", side, 1)
    return side
