"""Merge tokens in your own attention: plain torch, no diffusers model, on a CPU. `python examples/own_attention.py`.

Plan on the tokens, merge them, run attention on fewer tokens, unmerge its output. The plan is kept for `period` calls.
"""

import time

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

import retom


class SelfAttention(nn.Module):
    """Multi-head self-attention over tokens [B, N, C]."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.to_qkv = nn.Linear(channels, 3 * channels)
        self.to_out = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, channels = x.shape
        qkv = self.to_qkv(x).reshape(batch, tokens, 3, self.heads, channels // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, N, C / heads]
        out = scaled_dot_product_attention(query, key, value)
        return self.to_out(out.transpose(1, 2).reshape(batch, tokens, channels))


class MergedAttention(nn.Module):
    """The same attention on fewer tokens.

    Call `reset` before each generation: a plan belongs to the tokens it was made from.
    """

    def __init__(self, attention: nn.Module, ratio: float = 0.5, window: int = 2, period: int = 20):
        super().__init__()
        self.attention, self.ratio, self.window, self.period = attention, ratio, window, period
        self.reset()

    def reset(self) -> None:
        """Begin a new generation."""
        self.calls, self.plan = 0, None

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """x: [B, N, C], the tokens of a grid (H, W), row by row."""
        if self.calls % self.period == 0:
            self.plan = retom.merge_plan(x, grid, window=self.window, ratio=self.ratio)
        self.calls += 1
        merged = self.plan.merge(x)  # [B, M, C]
        return self.plan.unmerge(self.attention(merged))  # [B, N, C]


def smooth_tokens(batch: int, grid: tuple[int, int], channels: int) -> Tensor:
    """Tokens [B, N, C] that resemble their neighbours, as those of an image do."""
    coarse = torch.randn(batch, channels, grid[0] // 8, grid[1] // 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=grid, mode="bilinear").flatten(2).transpose(1, 2)


def main() -> None:
    """Compare the two on random weights: output difference and time per call."""
    grid, channels, calls = (64, 64), 64, 5
    attention = SelfAttention(channels, heads=4).eval()
    merged = MergedAttention(attention, ratio=0.5)
    x = smooth_tokens(2, grid, channels)
    with torch.no_grad():
        full, fewer = attention(x), merged(x, grid)
        seconds = []
        for call in (lambda: attention(x), lambda: merged(x, grid)):
            begin = time.perf_counter()
            for _ in range(calls):
                call()
            seconds.append((time.perf_counter() - begin) / calls)
    difference = (fewer - full).norm() / full.norm()
    print(f"tokens: {x.shape[1]} -> {merged.plan.num_merged}, relative difference of the output: {difference:.3f}")
    print(f"time per call: {seconds[0] * 1e3:.1f} ms -> {seconds[1] * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
