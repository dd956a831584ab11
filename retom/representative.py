"""Which token of a window is its destination, which are its sources (arXiv 2507.12771, Eq. 1 and Algorithm 1)."""

import math
from fractions import Fraction

import torch
from torch import Tensor

from retom.windows import Region

_EPS = 1e-12


def num_sources(ratio: float, size: int) -> int:
    """Tokens merged away in a window of `size`: floor(R * N_W), at most N_W - 1.

    R is read as the decimal it is written as, so 0.29 of 100 is 29 although the float product is 28.999...
    """
    return min(math.floor(Fraction(repr(float(ratio))) * size), size - 1)


def inverse_norms(x: Tensor) -> Tensor:
    """1 / |x_i| in float32, [B, N]; 0 for a token of norm 0, which is then similar to nothing."""
    norm = torch.linalg.vector_norm(x, dim=-1, dtype=torch.float32)
    return torch.where(norm > _EPS, norm.reciprocal(), 0.0)


def mean_similarity(x: Tensor, inverse: Tensor, region: Region, grid: tuple[int, int]) -> Tensor:
    """Mean cosine similarity of each token with the others of its window (Eq. 1), linear in tokens.

    With unit tokens u and their sum s over the window, the mean over the others is (u_i.s - u_i.u_i) / (N_W - 1).

    Args:
        x: tokens, [B, N, C].
        inverse: inverse norms, [B, N] float32.
        region: windows of one size.
        grid: (H, W).

    Returns:
        [B, num_windows, size] float32, tokens of a window in row-major order.
    """
    view = region.view(x, grid).float()  # [B, rows, height, columns, width, C]
    scale = region.view(inverse, grid)  # [B, rows, height, columns, width]
    total = torch.einsum("bihjwc,bihjw->bijc", view, scale)  # [B, rows, columns, C]
    dot = torch.einsum("bihjwc,bijc->bihjw", view, total) * scale
    own = (scale > 0).float()
    mean = by_window((dot - own) / (region.size - 1))
    # Two tokens are equally similar to each other; rounding must not break that tie.
    return mean[..., :1].expand_as(mean) if region.size == 2 else mean


def similarity_to(x: Tensor, inverse: Tensor, region: Region, grid: tuple[int, int], chosen: Tensor) -> Tensor:
    """Cosine similarity of each token with its window's chosen token [B, num_windows]; [B, num_windows, size]."""
    view = region.view(x, grid).float()
    scale = region.view(inverse, grid)
    picked = torch.gather(x, 1, chosen[..., None].expand(-1, -1, x.shape[-1])).float()  # [B, num_windows, C]
    picked = picked * torch.gather(inverse, 1, chosen)[..., None]
    picked = picked.unflatten(1, (region.rows, region.columns))
    return by_window(torch.einsum("bihjwc,bijc->bihjw", view, picked) * scale)


def by_window(values: Tensor) -> Tensor:
    """[B, rows, height, columns, width] -> [B, rows * columns, height * width]."""
    return values.permute(0, 1, 3, 2, 4).flatten(3, 4).flatten(1, 2)


def rank(score: Tensor, first: Tensor) -> Tensor:
    """Order the tokens of each window: the destination first, then by falling score; ties go to the lower index.

    Args:
        score: [B, num_windows, size].
        first: the destination's place in its window, [B, num_windows].

    Returns:
        Places in the window, [B, num_windows, size] int64.
    """
    score = score.scatter(-1, first[..., None], math.inf)
    return torch.sort(score, dim=-1, descending=True, stable=True).indices
