"""ToFu: Token Fusion (arXiv 2312.01026), on ToMeSD's matching.

Where a layer answers an interpolated input about as it would interpolate its answers, tokens may be merged; where it
does not, a mixture is an input it was not made for, and the source is better pruned. What is merged is merged by MLERP:
the mean of the tokens, rescaled to the largest norm among them. That keeps activations at the scale the layer knows,
and makes the merge nonlinear: of the laws of a plan, linearity is given up.

What is chosen here: the paper's rule for a Vision Transformer is that early layers prune and later ones merge, and no
code of it for diffusion is public. A U-Net's way down and middle prune here and its way up merges; `prune` may name
others, sites by number among them, and `linearity` measures what a layer does. Matching, windows and the level they are
used at are ToMeSD's. A pruned source gets its destination's output.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.selection import SelectionPlan
from baselines.tomesd import Clusters, ToMeSD
from retom.checks import as_tuple
from retom.method import SiteContext
from retom.plan import MergePlan
from retom.representative import token_norms
from retom.windows import LAYER_TYPES


class MlerpPlan(MergePlan):
    """A plan by clusters whose merged tokens have the largest norm of their members."""

    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C]: means, rescaled; a token alone in its cluster stays bit for bit what it was."""
        mean = super().merge(x)
        if self.is_identity:
            return mean
        norms = token_norms(x)  # [B, N]
        largest = torch.zeros(mean.shape[:2], device=x.device).scatter_reduce(1, self.assign, norms, "amax")  # [B, M]
        length = token_norms(mean)
        alone = self.weight.gather(1, self.dst_index) == 1
        scale = torch.where(alone | (length == 0), 1.0, largest / length)
        return (mean.float() * scale[..., None]).to(x.dtype)


@dataclass(frozen=True)
class ToFu(ToMeSD):
    """ToMeSD's matching; sources are pruned in some layers and merged by MLERP in the others.

    Attributes:
        prune: where sources are pruned: layer types ("down", "mid", "up") and numbers of sites, from 0.
        The others: see `ToMeSD`.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    prune: tuple[str | int, ...] = ("down", "mid")

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "prune", as_tuple(self.prune))
        for place in self.prune if isinstance(self.prune, tuple) else (self.prune,):
            if isinstance(place, bool) or not (place in LAYER_TYPES or (isinstance(place, int) and place >= 0)):
                raise ValueError(f"prune must hold {', '.join(LAYER_TYPES)} or numbers of sites, got {place!r}")

    def _made(self, clusters: Clusters, context: SiteContext) -> MergePlan | SelectionPlan:
        """The plan of what was matched: pruned, or merged by MLERP."""
        assign, kept, order = clusters
        if context.layer_type in self.prune or context.layer in self.prune:
            return SelectionPlan(assign, kept, kept.shape[1])
        return MlerpPlan.from_clusters(assign, None, kept, order=order, backend=context.backend)


def linearity(layer: Callable[[Tensor], Tensor], left: Tensor, right: Tensor, points: int = 5) -> float:
    """How far a layer is from answering mixtures by mixtures of its answers: 0 for a linear layer.

    Args:
        layer: a function of tokens [..., C].
        left, right: the two inputs that are mixed, of equal shape.
        points: mixtures (1 - t) left + t right looked at, t equally spaced strictly between 0 and 1.

    Returns:
        Mean over mixtures of |f(mixture) - mixture of f| / |f(right) - f(left)|. Compare layers of one model by it.
    """
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    with torch.no_grad():
        first, last = layer(left).float(), layer(right).float()
        shares = torch.linspace(0, 1, points + 2)[1:-1].tolist()
        errors = [(layer(torch.lerp(left, right, t)).float() - torch.lerp(first, last, t)).norm() for t in shares]
        return float(torch.stack(errors).mean() / (last - first).norm())
