"""Merge tokens in your own attention: plain torch, no diffusers model, on a CPU. `python examples/own_attention.py`.

`retom.MergedAttention` plans on the tokens, merges them, runs attention on fewer tokens and unmerges its output.
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


def smooth_tokens(batch: int, grid: tuple[int, int], channels: int) -> Tensor:
    """Tokens [B, N, C] that resemble their neighbours, as those of an image do."""
    coarse = torch.randn(batch, channels, grid[0] // 8, grid[1] // 8, generator=torch.Generator().manual_seed(0))
    return nn.functional.interpolate(coarse, size=grid, mode="bilinear").flatten(2).transpose(1, 2)


def main() -> None:
    """Compare the two on random weights: output difference and time per call of a generation of 5 steps."""
    grid, channels, steps = (64, 64), 64, 5
    attention = SelfAttention(channels, heads=4).eval()
    merged = retom.MergedAttention(attention, ratio=0.5, window=2, grid=grid)
    x = smooth_tokens(2, grid, channels)
    seconds = []
    with torch.no_grad():
        full, fewer = attention(x), merged(x)
        merged.reset()  # a generation begins: its plan is made once and reused
        for module in (attention, merged):
            begin = time.perf_counter()
            for _ in range(steps):
                module(x)
            seconds.append((time.perf_counter() - begin) / steps)
    difference = (fewer - full).norm() / full.norm()
    print(f"tokens: {x.shape[1]} -> {merged.report()['merged']}, relative difference of the output: {difference:.3f}")
    print(f"time per call: {seconds[0] * 1e3:.1f} ms -> {seconds[1] * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
