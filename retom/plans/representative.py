"""Similarities that select the destination and the sources of a window (arXiv 2507.12771, Eq. 1, Algorithm 1)."""

import math
from collections.abc import Callable
from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor

from retom.plans.windows import Region
from retom.tracing import constant

_EPS = 1e-12
_STRIP = 1 << 19  # numbers that are multiplied at a time: 2 MB, which fit into a core's cache
SIMILARITIES = ("cosine", "dot", "l2", "pearson")


def num_sources(ratio: float, size: int) -> int:
    """Tokens merged away in a window of `size`: floor(R * N_W), at most N_W - 1.

    R is read as a decimal number, so 0.29 of 100 is 29 although the float product is 28.999...
    """
    numerator, denominator = _as_decimal(float(ratio))
    return min(numerator * size // denominator, size - 1)


@constant
def _as_decimal(ratio: float) -> tuple[int, int]:
    """The shortest decimal of a ratio, as numerator and denominator.

    `torch.compile` calls this while tracing and traces only the integers: not every version can trace a `Fraction`.
    """
    return Fraction(repr(ratio)).as_integer_ratio()


def inverse_norms(x: Tensor) -> Tensor:
    """1 / |x_i| in float32, [B, N]; 0 for a token of norm 0, whose similarities are then 0."""
    if x.device.type == "cpu" and x.dtype != torch.float32:  # torch copies its input to float32
        norm = torch.cat(
            [token_norms(part) for part in x.split(max(1, _STRIP // (x.shape[0] * x.shape[2])), dim=1)], dim=1
        )
    else:
        norm = token_norms(x)
    return torch.where(norm > _EPS, norm.reciprocal(), 0.0)


def token_norms(x: Tensor) -> Tensor:
    """|x_i| in float32 of tokens [..., C], without a float32 copy of half-precision ones on a GPU."""
    x = x.float() if x.dtype == torch.float64 else x  # torch does not convert float64 itself
    norms: Tensor = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32)
    return norms


def scaled(x: Tensor, similarity: str) -> tuple[Tensor, Tensor]:
    """Tokens [B, N, C] and a factor for each, [B, N] float32, whose products are the similarities.

    cosine: inverse norms (Eq. 1). pearson: the same for tokens minus their mean over channels. dot, l2: no scaling.
    """
    if similarity == "cosine":
        return x, inverse_norms(x)
    x = x.float()
    if similarity == "pearson":
        x = x - x.mean(dim=-1, keepdim=True)
        return x, inverse_norms(x)
    return x, torch.ones(x.shape[:2], device=x.device)


def mean_similarity(
    x: Tensor,
    inverse: Tensor,
    region: Region,
    grid: tuple[int, int],
    tokens: Tensor | None = None,
    similarity: str = "cosine",
) -> Tensor:
    """Mean similarity of each token with the others in its window (Eq. 1), linear in tokens.

    With scaled tokens u and their sum s over the window, the mean over the others is (u_i.s - u_i.u_i) / (N_W - 1).
    For l2, the negative squared distance, it is the mean of 2 u_i.u_j - |u_i|^2 - |u_j|^2.

    Args:
        x: tokens, [B, N, C], as `scaled` returns them.
        inverse: their factors, [B, N] float32; the inverse norms for cosine.
        region: windows of one size.
        grid: (H, W).
        tokens: `region.tokens(grid, device)`, if available.
        similarity: "cosine", "dot", "l2" or "pearson".

    Returns:
        [B, num_windows, size] float32, tokens of a window in row-major order.
    """
    tokens = region.tokens(grid, x.device) if tokens is None else tokens
    scale = inverse[:, tokens]  # [B, num_windows, size]
    dot = _dot(x, lambda part: _window_sums(x, scale[:, part], tokens[part]), region, grid) * scale
    # |u_i|^2
    own = (scale > 0).float() if similarity in ("cosine", "pearson") else x.square().sum(-1)[:, tokens]
    others = dot - own
    if similarity == "l2":
        others = 2 * others - (region.size - 1) * own - (own.sum(-1, keepdim=True) - own)
    mean = others / (region.size - 1)
    # Two tokens are equally similar to each other; rounding must not break that tie.
    return mean[..., :1].expand_as(mean) if region.size == 2 else mean


def similarity_to(
    x: Tensor, inverse: Tensor, region: Region, grid: tuple[int, int], chosen: Tensor, similarity: str = "cosine"
) -> Tensor:
    """Similarity of each token with its window's chosen token [B, num_windows]; [B, num_windows, size]."""
    picked = torch.gather(x, 1, chosen[..., None].expand(-1, -1, x.shape[-1])).float()  # [B, num_windows, C]
    picked = picked * torch.gather(inverse, 1, chosen)[..., None]
    tokens = region.tokens(grid, x.device)
    dot = _dot(x, lambda part: picked[:, part], region, grid) * inverse[:, tokens]
    if similarity != "l2":
        return dot
    # The norm of the chosen token is the same throughout its window, but makes this the distance.
    return 2 * dot - x.square().sum(-1)[:, tokens] - picked.square().sum(-1)[..., None]


def _window_sums(x: Tensor, scale: Tensor, tokens: Tensor) -> Tensor:
    """Sum of unit tokens over the windows `tokens` [num_windows, size], [B, num_windows, C] float32."""
    batch, num_tokens, channels = x.shape
    image = torch.arange(batch, device=x.device)[:, None, None]
    rows = (tokens + image * num_tokens).view(-1, tokens.shape[1])
    weight = scale.reshape(rows.shape)
    flat = x.reshape(-1, channels)
    if x.dtype != torch.float32:  # only the summed rows are copied to float32
        flat = flat[rows.view(-1)].float()
        rows = torch.arange(flat.shape[0], device=x.device).view(rows.shape)
    total = F.embedding_bag(rows, flat, mode="sum", per_sample_weights=weight)
    return total.view(batch, -1, channels)


def _dot(x: Tensor, vectors: Callable[[slice], Tensor], region: Region, grid: tuple[int, int]) -> Tensor:
    """Product of each token with its window's vector, [B, num_windows, size].

    `vectors` returns those of a slice of windows, [B, windows, C]. Rows of windows are processed in strips. On a CPU a
    strip fits into a core's cache, so that x is read from memory once and neither the product nor a float32 copy is
    stored in full. On other devices there are at most four strips, since each launches every operation.
    """
    view = region.view(x, grid)  # [B, rows, height, columns, width, C]
    size = _STRIP if x.device.type == "cpu" else max(_STRIP, -(-view.numel() // 4))
    rows = max(1, size * region.rows // view.numel())
    strips = []
    for first in range(0, region.rows, rows):
        strip = view[:, first : first + rows].float()
        part = slice(first * region.columns, (first + rows) * region.columns)
        strips.append((strip * vectors(part).view(x.shape[0], -1, 1, region.columns, 1, x.shape[-1])).sum(-1))
    dot = torch.cat(strips, dim=1)  # [B, rows, height, columns, width]
    return dot.permute(0, 1, 3, 2, 4).reshape(x.shape[0], region.num_windows, region.size)


def rank(score: Tensor, first: Tensor) -> Tensor:
    """Order the tokens of each window: the destination first, then by decreasing score; ties go to the lower index.

    Args:
        score: [B, num_windows, size].
        first: the position of the destination in its window, [B, num_windows].

    Returns:
        Positions in the window, [B, num_windows, size] int64.
    """
    score = score.scatter(-1, first[..., None], math.inf)
    return torch.sort(score, dim=-1, descending=True, stable=True).indices
