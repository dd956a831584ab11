"""SiTo: Similarity-based Token pruning (Zhang, Tang, Ning & Zhang, AAAI 2025), from the three stages of the paper.

Base tokens: in every sx x sy window the token with the highest score, beta * (sum of its cosine similarities to all
tokens) + alpha * (Gaussian noise). Pruned tokens: the r tokens that are most similar to any base token. Recovery: a
pruned token gets a copy of the output of its most similar base token.

Differences from the release: the sum over all tokens is one product with the sum of unit tokens, linear in tokens,
while the release computes the complete similarity matrix in half precision. Noise is a pure function of (image seed,
step, layer, token), the same for both halves of guidance, while the release draws it for the complete batch from the
global generator. Tokens are recovered from base tokens, as in the paper, while the release uses the most similar of all
kept tokens. As in the release, similarity is computed on the input of the block, only the top level is pruned, and
tokens at the edge that fill no window are never base tokens. A sum over N tokens grows with N and alpha = 0.1 does not,
so noise only decides near ties.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.parts.bipartite import BipartiteMerger
from baselines.parts.checks import check_integers, check_ratio
from baselines.parts.matching import full_windows, truncated
from baselines.parts.selection import SelectionPlan
from baselines.tomesd import bipartite
from retom.checks import check_number
from retom.method import SiteContext
from retom.plans.representative import inverse_norms
from retom.rng import uniform_index

_LEVELS = 1 << 24


@dataclass(frozen=True)
class SiTo(BipartiteMerger):
    """Prune the tokens that are most similar to a base token.

    Attributes:
        ratio: share of all tokens pruned, in [0, 1 - 1 / (sx * sy)].
        sx, sy: width and height of a window in tokens.
        noise_alpha: weight of the noise in the score of base tokens.
        sim_beta: weight of the similarities.
        targets, max_downsample: see `BipartiteMerger`.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    sx: int = 2
    sy: int = 2
    noise_alpha: float = 0.1
    sim_beta: float = 1.0

    def __post_init__(self):
        super().__post_init__()
        check_integers(self, sx=1, sy=1)
        for name in ("noise_alpha", "sim_beta"):
            check_number(name, getattr(self, name), "[0, inf)")
        check_ratio(self.ratio, {f"sx={self.sx}, sy={self.sy}": self.sx * self.sy})

    def matched(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> SelectionPlan | None:
        """Prune the r tokens that are most similar to a base token."""
        base = self._base(metric, grid, context)
        pruned = min(truncated(self.ratio, grid), metric.shape[1] - base.shape[1])
        if pruned == 0:
            return None
        assign, kept, _ = bipartite(metric.float(), base, pruned)
        return SelectionPlan(assign, kept, kept.shape[1])

    def _base(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> Tensor:
        """The base token of every full window, [B, windows]."""
        score = self.sim_beta * similarity_sums(metric)
        score = score + self.noise_alpha * gaussian(context, metric.shape[1])
        tokens = full_windows(grid, (self.sy, self.sx)).tokens(grid, metric.device)
        best = score[:, tokens].argmax(dim=-1)  # [B, windows]
        return tokens.expand(metric.shape[0], -1, -1).gather(2, best[..., None])[..., 0]


def similarity_sums(x: Tensor) -> Tensor:
    """Sum of the cosine similarities of each token of x [B, N, C] to all tokens, itself included, [B, N] float32."""
    x = x.float()
    unit = x * inverse_norms(x)[..., None]
    return (unit * unit.sum(dim=1, keepdim=True)).sum(dim=-1)


def gaussian(context: SiteContext, num_tokens: int) -> Tensor:
    """Standard normal noise [B, N] float32 as a function of (image seed, step, layer, token), by Box and Muller."""
    numbers = torch.arange(2 * num_tokens, device=context.seeds.device)
    drawn = uniform_index(context.seeds, context.step, context.layer, numbers, _LEVELS)
    uniform = (drawn.float() + 0.5) / _LEVELS  # in (0, 1]
    radius, angle = uniform.chunk(2, dim=1)
    return torch.sqrt(-2 * torch.log(radius)) * torch.cos(2 * math.pi * angle)
