"""Kernel distance (KID if the features are Inception's): unbiased squared MMD with k(x, y) = (x.y/d + 1)^3.

Binkowski et al. 2018, arXiv 1801.01401, Eq. 4. All images are used at once, without random subsets, so the value is
deterministic. Unlike FID it is unbiased, so values of different n can be compared.
"""

from dataclasses import dataclass

import numpy as np
import torch

from eval.metrics.features import check_features
from eval.metrics.measures import Distance, FeatureMetric


@dataclass(frozen=True)
class _Kernel(Distance):
    kind = "kernel"
    formula = "unbiased cubic MMD"

    def derivatives(self, features: np.ndarray) -> tuple[float, np.ndarray]:
        return kid_derivatives(features, self.reference_features, self.setting.device)


@dataclass(frozen=True)
class KernelDistance(FeatureMetric):
    """The kernel distance to the reference through a network."""

    better = "lower"
    distance = _Kernel


def polynomial_kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """k(x_i, y_j) [n, m] for features [n, d], [m, d]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kid(features: np.ndarray, reference: np.ndarray, device: str | torch.device = "cpu") -> float:
    """Unbiased squared MMD between `features` [n, d] and `reference` [m, d]. Errors as in `features.check_features`."""
    return kid_derivatives(features, reference, device)[0]


def kid_derivatives(
    features: np.ndarray, reference: np.ndarray, device: str | torch.device = "cpu"
) -> tuple[float, np.ndarray]:
    """The value, and its derivatives [n] with respect to the weight of each image, at weight 1 for all.

    An image is never paired with a copy of itself, so a weight adds no self-similarity.
    """
    check_features(features, "generated images")
    check_features(reference, "reference")
    x = torch.as_tensor(features, dtype=torch.float64, device=device)
    y = torch.as_tensor(reference, dtype=torch.float64, device=device)
    within = polynomial_kernel(x, x).fill_diagonal_(0).sum(1) / (len(x) - 1)  # [n] mean over the other images
    across = polynomial_kernel(x, y).mean(1)  # [n]
    value = within.mean() + _mean_of_pairs(y) - 2 * across.mean()
    derivatives = 2 * (within - within.mean() - across + across.mean()) / len(x)
    return float(value), derivatives.cpu().numpy()


def _mean_of_pairs(y: torch.Tensor) -> torch.Tensor:
    return polynomial_kernel(y, y).fill_diagonal_(0).sum() / (len(y) * (len(y) - 1))
