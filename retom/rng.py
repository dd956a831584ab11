"""Random choices that are pure functions of (image seed, step, layer, window): no generator, no state.

The choices for an image therefore do not depend on its batch, its neighbours, its shard or earlier runs, and both
halves of classifier-free guidance make the same choices.
"""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

Draw = tuple[Tensor | None, int, int]  # the inputs of a random choice: seeds [B] int64, step, layer

# The constants of splitmix64 (Steele, Lea & Flood, 2014) as signed 64-bit integers; int64 products wrap around.
_GAMMA = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND = 0x94D049BB133111EB - (1 << 64)


def uniform_index(seeds: Tensor, step: int, layer: int, windows: Tensor, size: int) -> Tensor:
    """Draw one index in [0, size) per image and window.

    Args:
        seeds: image seeds, [B] int64.
        step: number of the denoiser call in the generation, from 0.
        layer: number of the site in the model, from 0.
        windows: number of each window in its grid, [num_windows] int64.
        size: tokens per window (N_W); the bias from taking the remainder is below size / 2^31.

    Returns:
        [B, num_windows] int64.
    """
    key = _mix(_mix(_mix(seeds) + step) + layer)  # [B]
    drawn = _mix(key[:, None] + windows[None, :])  # [B, num_windows]
    return _shift(drawn, 33) % size


def _mix(z: Tensor) -> Tensor:
    """The output function of splitmix64 on int64 tensors."""
    z = z + _GAMMA
    z = (z ^ _shift(z, 30)) * _FIRST
    z = (z ^ _shift(z, 27)) * _SECOND
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    """Logical right shift; torch's is arithmetic."""
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def as_seeds(seeds: Sequence[int]) -> Tensor:
    """One seed per image as a tensor [images] int64 on the CPU; ValueError if one is no integer in [-2**63, 2**63)."""
    try:
        integers = tuple(operator.index(seed) for seed in seeds)
    except TypeError as error:
        raise ValueError(f"seeds must have one integer per image, got {seeds!r}") from error
    beyond = [seed for seed in integers if not -(2**63) <= seed < 2**63]
    if beyond:
        raise ValueError(f"seeds must be integers in [-2**63, 2**63), one per image, got {beyond[0]}")
    if not integers:
        raise ValueError("seeds must have one integer per image, got none")
    return torch.tensor(integers, dtype=torch.int64)


def check_seeds(seeds: Any, batch: int, device: torch.device) -> Tensor:
    """Seeds as an int64 tensor [B] on `device`; ValueError if they are missing or do not match the batch."""
    if seeds is None:
        raise ValueError(f"seeds must be given for destination='random': {batch}, one integer per image, got None")
    try:
        tensor = torch.as_tensor(seeds, device=device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{_wanted(batch)}, got {seeds!r}") from error
    if tensor.is_floating_point() or tensor.shape != (batch,):
        raise ValueError(f"{_wanted(batch)}, got {tensor.tolist()!r}")
    return tensor.to(torch.int64).contiguous()  # kernels read consecutive seeds


def _wanted(batch: int) -> str:
    return f"seeds must be {batch} integer{'s' * (batch != 1)} in [-2**63, 2**63), one per image"
