"""Kernel launches with arguments from the shapes and strides of tensors. Importing this module imports Triton.

Tile sizes are chosen so that a thread has 16 to 64 numbers of a tile, and a site of Stable Diffusion has more programs
than the device has processors.
"""

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor

from retom.backends.triton import large, planning, rows
from retom.plans.windows import Region
from retom.rng import Draw

_DESTINATIONS = ("representative", "least", "random")
# Largest number of tokens per window for one program; larger windows are planned by two launches.
_HELD = 256
# Up to this number of tokens, ranks are counted in registers.
_RANKED = 32
# Rows of a slot that are read together with those of other slots, and rows of a long slot that are read at a time.
_SHORT, _LONG = 4, 32

INTERPRETED = not isinstance(rows.merge_rows, triton.JITFunction)


class WindowPlan(NamedTuple):
    """The tensors of a `retom.MergePlan`, in the order of its fields."""

    assign: Tensor
    weight: Tensor
    num_merged: int
    dst_index: Tensor
    order: Tensor
    starts: Tensor


def plan_windows(
    x: Tensor,
    grid: tuple[int, int],
    regions: Sequence[Region],
    removed: Sequence[int],
    alpha: float,
    destination: str,
    source: str,
    draw: Draw,
) -> WindowPlan:
    """Plan windows in one launch, or in two if a window has more than 256 tokens.

    Args:
        x: tokens [B, N, C], with any strides.
        grid: (H, W).
        regions: `retom.plans.windows.tile(grid, window)`.
        removed: tokens merged away in a window of each region.
        alpha: weight of the destination.
        destination, source: as in `retom.merge_plan`.
        draw: (seeds [B] int64 or None, step, layer).
    """
    batch, num_tokens, _ = x.shape
    num_merged = sum(region.num_windows * (region.size - gone) for region, gone in zip(regions, removed, strict=True))
    plan = WindowPlan(
        assign=torch.empty(batch, num_tokens, dtype=torch.int64, device=x.device),
        weight=torch.empty(batch, num_tokens, dtype=torch.float32, device=x.device),
        num_merged=num_merged,
        dst_index=torch.empty(batch, num_merged, dtype=torch.int64, device=x.device),
        order=torch.empty(batch, num_tokens, dtype=torch.int64, device=x.device),
        starts=torch.empty(batch, num_merged, dtype=torch.int64, device=x.device),
    )
    kinds = _kinds(regions, removed, alpha)
    with _device(x):
        launch = _plan_held if regions[0].size <= _HELD else _plan_large
        launch(x, grid, regions, kinds, plan, (destination, source), draw)
    return plan


def merge(x: Tensor, order: Tensor, starts: Tensor, weight: Tensor, mean: bool) -> Tensor:
    """Weighted sum of each slot's tokens, [B, N, C] -> [B, M, C], in one launch."""
    batch, num_tokens, channels = x.shape
    num_merged = starts.shape[1]
    out = torch.empty(batch, num_merged, channels, dtype=x.dtype, device=x.device)
    high, wide = _tile(channels)
    grid = (_blocks(num_merged, high), _blocks(channels, wide), batch)
    strides = (order.stride(0), starts.stride(0), weight.stride(0))
    with _device(x):
        rows.merge_rows[grid](
            x, order, starts, weight, out, *x.stride(), *strides, num_tokens, num_merged, channels,
            SLOTS=high, CHANNELS=wide, SHORT=_SHORT, LONG=_LONG, MEAN=mean,
        )  # fmt: skip
    return out


def unmerge(y: Tensor, assign: Tensor) -> Tensor:
    """Each token gets its slot's row, [B, M, C] -> [B, N, C], in one launch."""
    batch, _, channels = y.shape
    num_tokens = assign.shape[1]
    out = torch.empty(batch, num_tokens, channels, dtype=y.dtype, device=y.device)
    high, wide = _tile(channels)
    grid = (_blocks(num_tokens, high), _blocks(channels, wide), batch)
    with _device(y):
        rows.unmerge_rows[grid](
            y, assign, out, *y.stride(), assign.stride(0), num_tokens, channels,
            TOKENS=high, CHANNELS=wide,
        )  # fmt: skip
    return out


class _Kinds(NamedTuple):
    """Values per kind of window (inside, right edge, bottom edge, corner); 0 for a kind that the grid does not have."""

    removed: tuple[int, ...]  # tokens merged away
    slots: tuple[int, ...]  # the first slot, of kinds 1 to 3
    shares: tuple[float, ...]  # weight of a source, then alpha


def _kinds(regions: Sequence[Region], removed: Sequence[int], alpha: float) -> _Kinds:
    gone, slots, shares, first = [0] * 4, [0] * 4, [1.0] * 4, 0
    for region, count in zip(regions, removed, strict=True):
        kind = 2 * (region.top > 0) + (region.left > 0)
        gone[kind], slots[kind] = count, first
        shares[kind] = (1 - alpha) / count if count else 1.0
        first += region.num_windows * (region.size - count)
    return _Kinds(tuple(gone), tuple(slots[1:]), (*shares, float(alpha)))


def _plan_held(
    x: Tensor,
    grid: tuple[int, int],
    regions: Sequence[Region],
    kinds: _Kinds,
    plan: WindowPlan,
    choice: tuple[str, str],
    draw: Draw,
) -> None:
    """Plan windows that fit into one program, several small ones per program."""
    batch, num_tokens, channels = x.shape
    tokens = _power(regions[0].size)
    group = max(1, _RANKED // tokens)
    windows = sum(region.num_windows for region in regions)
    warps = max(4, tokens // 16)
    stored = tokens > _RANKED
    scores = torch.empty(batch, num_tokens, dtype=torch.float32, device=x.device) if stored else None
    seeds, step, layer = draw
    planning.plan_windows[(_blocks(windows, group), batch)](
        x, plan.order, plan.assign, plan.weight, plan.starts, plan.dst_index, scores, seeds, *x.stride(),
        num_tokens, plan.num_merged, windows, channels, *grid, *kinds.removed, *kinds.slots, *kinds.shares, step, layer,
        TALL=regions[0].height, WIDE=regions[0].width, WINDOWS=group, TOKENS=tokens,
        CHANNELS=_channels(channels, tokens * group, warps), STORED=stored, **_choice(choice), num_warps=warps,
    )  # fmt: skip


def _plan_large(
    x: Tensor,
    grid: tuple[int, int],
    regions: Sequence[Region],
    kinds: _Kinds,
    plan: WindowPlan,
    choice: tuple[str, str],
    draw: Draw,
) -> None:
    """Plan larger windows: first scores, then ranks."""
    batch, num_tokens, channels = x.shape
    windows = sum(region.num_windows for region in regions)
    side = {"TALL": regions[0].height, "WIDE": regions[0].width, "TOKENS": _HELD}
    inverse, scores = torch.empty(2, batch, num_tokens, dtype=torch.float32, device=x.device)
    sums = torch.empty(batch, windows, channels, dtype=torch.float32, device=x.device)
    firsts = torch.empty(batch, windows, dtype=torch.int32, device=x.device)
    seeds, step, layer = draw
    large.score_windows[(windows, batch)](
        x, inverse, sums, scores, firsts, seeds, *x.stride(), num_tokens, windows, channels, *grid, step, layer,
        **side, CHANNELS=_channels(channels, _HELD, 16), **_choice(choice), num_warps=16,
    )  # fmt: skip
    large.rank_windows[(windows, _blocks(regions[0].size, _HELD), batch)](
        scores, firsts, plan.order, plan.assign, plan.weight, plan.starts, plan.dst_index,
        num_tokens, plan.num_merged, windows, *grid, *kinds.removed, *kinds.slots, *kinds.shares,
        **side, num_warps=8,
    )  # fmt: skip


def _choice(choice: tuple[str, str]) -> dict[str, object]:
    destination, source = choice
    return {"DESTINATION": _DESTINATIONS.index(destination), "BY_DESTINATION": source == "destination"}


def _tile(channels: int) -> tuple[int, int]:
    """Rows and channels of a tile that moves rows: 2,048 numbers, 16 for each of 128 threads, if C is large enough."""
    wide = 128 if channels % 128 == 0 else min(64, _power(channels))
    return min(32, 2048 // wide), wide


def _channels(channels: int, tokens: int, warps: int) -> int:
    """Channels of a tile of `tokens` tokens: 32 numbers for each thread, at most all channels."""
    return min(_power(channels), 128, max(8, 32 * 32 * warps // tokens))


def _power(number: int) -> int:
    """The next power of two; `triton.next_power_of_2` is unknown to torch.compile."""
    return 1 << (number - 1).bit_length()


def _blocks(number: int, size: int) -> int:
    return -(-number // size)


def _device(x: Tensor) -> contextlib.AbstractContextManager[Any]:
    """Make the device of x current for a launch. Compiled graphs do this themselves."""
    if x.device.type == "cuda" and not torch.compiler.is_compiling():
        return torch.cuda.device(x.device)
    return contextlib.nullcontext()
