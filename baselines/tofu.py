"""ToFu: Token Fusion (arXiv 2312.01026), on ToMeSD's matching.

If a layer is close to linear, the output for a mixture of tokens is close to the mixture of their outputs, and tokens
may be merged. If it is not, a mixture is out of distribution, and the source is pruned instead. Tokens are merged by
MLERP: their mean, rescaled to the largest norm among them. This preserves the scale of activations and makes the merge
nonlinear, so linearity is the one law of a plan that does not hold.

Choices of this file: in the paper, early layers of a Vision Transformer prune and later ones merge, and there is no
public code for diffusion. Here the down path and the middle of a U-Net prune and the up path merges. `prune` can select
others, including sites by number, and `linearity` measures a layer. Matching, windows and levels are those of ToMeSD. A
pruned source gets the output of its destination.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from baselines.parts.selection import SelectionPlan
from baselines.tomesd import Clusters, ToMeSD
from retom.checks import as_tuple
from retom.method import SiteContext
from retom.plans.merge_plan import MergePlan
from retom.plans.representative import token_norms
from retom.plans.windows import LAYER_TYPES


class MlerpPlan(MergePlan):
    """A plan whose merged tokens have the largest norm of their members."""

    def merge(self, x: Tensor) -> Tensor:
        """[B, N, C] -> [B, M, C]: rescaled means. A token that is alone in its cluster is unchanged, bit for bit."""
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
        Other attributes: see `ToMeSD`.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    prune: tuple[str | int, ...] = ("down", "mid")

    def __post_init__(self):
        super().__post_init__()
        object.__setattr__(self, "prune", as_tuple(self.prune))
        for place in self.prune if isinstance(self.prune, tuple) else (self.prune,):
            if isinstance(place, bool) or not (place in LAYER_TYPES or (isinstance(place, int) and place >= 0)):
                raise ValueError(f"prune must contain only {', '.join(LAYER_TYPES)} or numbers of sites, got {place!r}")

    def _made(self, clusters: Clusters, context: SiteContext) -> MergePlan | SelectionPlan:
        """The plan for the matched clusters: pruned, or merged by MLERP."""
        assign, kept, order = clusters
        if context.layer_type in self.prune or context.layer in self.prune:
            return SelectionPlan(assign, kept, kept.shape[1])
        return MlerpPlan.from_clusters(assign, None, kept, order=order, backend=context.backend)


def linearity(layer: Callable[[Tensor], Tensor], left: Tensor, right: Tensor, points: int = 5) -> float:
    """Deviation of a layer from linearity: 0 for a linear layer.

    Args:
        layer: a function of tokens [..., C].
        left, right: the two inputs that are mixed, of equal shape.
        points: number of mixtures (1 - t) left + t right, with t equally spaced strictly between 0 and 1.

    Returns:
        Mean over mixtures of |f(mixture) - mixture of f| / |f(right) - f(left)|, for comparing layers of one model.
    """
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    with torch.no_grad():
        first, last = layer(left).float(), layer(right).float()
        shares = torch.linspace(0, 1, points + 2)[1:-1].tolist()
        errors = [(layer(torch.lerp(left, right, t)).float() - torch.lerp(first, last, t)).norm() for t in shares]
        return float(torch.stack(errors).mean() / (last - first).norm())
