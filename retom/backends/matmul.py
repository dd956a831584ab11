"""Execution by matrices: one small matrix per window if the plan has windows (block-diagonal), one dense map otherwise.

A dense map has B * M * N numbers, 67 MB in float32 for N = 4096, ratio 0.5 and a batch of 2. Blocks for windows of n
tokens have N / n times fewer.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Blocks(NamedTuple):
    """Maps of equal windows `tokens` [windows, n]: `merge` [B, windows, m, n] and `unmerge` [B, windows, n, m]."""

    tokens: Tensor
    merge: Tensor
    unmerge: Tensor


class MatmulBackend:
    """See the module's docstring."""

    def prepare(self, plan: Any) -> tuple[Blocks, ...]:
        """Compute the matrices; without windows, the complete grid is one block."""
        if not plan.blocks:
            every = torch.arange(plan.assign.shape[1], device=plan.assign.device)[None]
            return (_blocks(plan, every, plan.num_merged, 0),)
        maps, first = [], 0
        for tokens, slots in plan.blocks:
            maps.append(_blocks(plan, tokens, slots, first))
            first += tokens.shape[0] * slots
        return tuple(maps)

    def merge(self, plan: Any, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C], slots window by window."""
        return torch.cat([_apply(block.merge, x[:, block.tokens]) for block in plan.prepared], dim=1)

    def unmerge(self, plan: Any, y: Tensor) -> Tensor:
        """[B, M, C] -> [B, N, C]."""
        out = y.new_empty(y.shape[0], plan.assign.shape[1], y.shape[2])
        first = 0
        for block in plan.prepared:
            windows, slots = block.merge.shape[1:3]
            part = y[:, first : first + windows * slots].unflatten(1, (windows, slots))
            out[:, block.tokens.reshape(-1)] = _apply(block.unmerge, part)
            first += windows * slots
        return out


def _apply(matrix: Tensor, x: Tensor) -> Tensor:
    """[B, windows, p, q] @ [B, windows, q, C] -> [B, windows * p, C]."""
    return torch.matmul(matrix.to(x.dtype), x).flatten(1, 2)


def _blocks(plan: Any, tokens: Tensor, slots: int, first: int) -> Blocks:
    """Matrices of the windows `tokens` [windows, n] with `slots` slots per window, numbered from `first`."""
    windows, size = tokens.shape
    base = first + slots * torch.arange(windows, device=tokens.device)[None, :, None]
    local = plan.assign[:, tokens] - base  # [B, windows, n]
    weight = plan.weight[:, tokens]
    merge = weight.new_zeros(*weight.shape[:2], slots, size)
    merge.scatter_(2, local[:, :, None], weight[:, :, None])
    unmerge = weight.new_zeros(*weight.shape[:2], size, slots)
    unmerge.scatter_(3, local[..., None], 1.0)
    return Blocks(tokens, merge, unmerge)
