"""Kernel distance (KID when the features are Inception's): unbiased squared MMD with k(x, y) = (x.y/d + 1)^3.

Binkowski et al. 2018, arXiv 1801.01401, Eq. 4. All pictures are used at once: the value needs no random subsets and is
the same for the same features. Unlike FID it is unbiased, so that different n can be compared.
"""

import numpy as np
import torch

from eval.fid import check_features


def polynomial_kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """k(x_i, y_j) [n, m] for features [n, d], [m, d]."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def kid(features: np.ndarray, reference: np.ndarray, device: str | torch.device = "cpu") -> float:
    """Unbiased squared MMD between `features` [n, d] and `reference` [m, d]. Errors as `fid.check_features`."""
    classes = np.zeros(len(features), dtype=np.int64)
    return float(kid_replicates(features, classes, np.ones((1, 1)), reference, device)[0])


def kid_replicates(
    features: np.ndarray,
    classes: np.ndarray,
    weights: np.ndarray,
    reference: np.ndarray,
    device: str | torch.device = "cpu",
) -> np.ndarray:
    """Values [b] when class c weighs weights[b, c]; `classes` [n] holds positions 0..k-1.

    A picture is never paired with a copy of itself, so that resampling adds no self-similarity. The kernel is summed
    over pairs of classes once; a replicate is then a quadratic form in k numbers.
    """
    check_features(features, "generated images")
    check_features(reference, "reference")
    x = torch.as_tensor(features, dtype=torch.float64, device=device)
    y = torch.as_tensor(reference, dtype=torch.float64, device=device)
    member = torch.nn.functional.one_hot(torch.as_tensor(classes, device=device), weights.shape[1]).double()  # [n, k]
    within = polynomial_kernel(x, x).fill_diagonal_(0)
    blocks = member.T @ within @ member  # [k, k] sums over pairs i != j
    counts = member.sum(0)
    pairs = counts[:, None] * counts[None, :] - torch.diag(counts)
    cross = member.T @ polynomial_kernel(x, y).sum(1)  # [k]
    w = torch.as_tensor(weights, dtype=torch.float64, device=device)  # [b, k]
    own = ((w @ blocks) * w).sum(1) / ((w @ pairs) * w).sum(1)
    values = own + _mean_of_pairs(y) - 2 * (w @ cross) / ((w @ counts) * len(y))
    return values.cpu().numpy()


def _mean_of_pairs(y: torch.Tensor) -> torch.Tensor:
    return polynomial_kernel(y, y).fill_diagonal_(0).sum() / (len(y) * (len(y) - 1))
