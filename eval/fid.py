"""Frechet distance of two feature sets (FID when the features are Inception's) and its replicates under class weights.

FID = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)   (Heusel et al. 2017, arXiv 1706.08500, Eq. 6)

The last trace is the sum of square roots of the eigenvalues of S1 S2. With X the centred features and S1 = X^T X / (n
- 1) these are the eigenvalues of the symmetric X S2 X^T / (n - 1) [n, n], or of L^T S1 L [d, d] with S2 = L L^T:
whichever is smaller is solved. No matrix square root, no complex numbers, no epsilon; float64 throughout, as in the
original.
"""

from dataclasses import dataclass

import numpy as np
import torch

from eval.errors import RunError

MINIMUM_IMAGES = 10


class TooFewImagesError(RunError):
    """A distance between distributions was asked for on fewer images than MINIMUM_IMAGES."""


@dataclass(frozen=True)
class Moments:
    """Mean [d] and covariance [d, d] of a feature set, float64; `n` pictures."""

    mean: torch.Tensor
    covariance: torch.Tensor
    n: int

    def to(self, device: str | torch.device) -> "Moments":
        """The same on `device`."""
        return Moments(self.mean.to(device), self.covariance.to(device), self.n)


def check_features(features: np.ndarray, what: str) -> None:
    """RunError if `features` [n, d] holds NaN or infinity, TooFewImagesError if n < MINIMUM_IMAGES."""
    if len(features) < MINIMUM_IMAGES:
        raise TooFewImagesError(f"{what}: {len(features)} images, at least {MINIMUM_IMAGES} are needed")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise RunError(f"{what}: features of {bad.size} images are not finite (first: number {bad[0]})")


def moments(features: np.ndarray, device: str | torch.device = "cpu", what: str = "features") -> Moments:
    """Mean and covariance (divided by n - 1) of `features` [n, d]. Errors as `check_features`."""
    check_features(features, what)
    x = torch.as_tensor(features, dtype=torch.float64, device=device)  # [n, d]
    mean = x.mean(0)
    centred = x - mean
    return Moments(mean, centred.T @ centred / (len(x) - 1), len(x))


def fid(features: np.ndarray, reference: Moments) -> float:
    """Frechet distance of `features` [n, d] to the reference's moments. Errors as `check_features`."""
    weights = np.ones((1, len(features)), dtype=np.int64)
    return float(fid_replicates(features, weights, reference)[0])


def fid_replicates(features: np.ndarray, weights: np.ndarray, reference: Moments) -> np.ndarray:
    """Frechet distances [b] of weighted `features` [n, d]: picture i weighs (if whole: counts) weights[b, i].

    The reference stays as it is, so what does not depend on the weights is computed once; a replicate then costs one
    eigenvalue problem of the pictures that weigh anything, or of d if that is smaller.
    """
    check_features(features, "generated images")
    if features.shape[1] != len(reference.mean):
        raise ValueError(f"features must have {len(reference.mean)} columns as the reference, got {features.shape[1]}")
    device = reference.mean.device
    x = torch.as_tensor(features, dtype=torch.float64, device=device) - reference.mean  # [n, d]; distance 0 = the mean
    w = torch.as_tensor(weights, dtype=torch.float64, device=device)  # [b, n]
    solve = _by_pictures(x, reference) if len(x) <= x.shape[1] else _by_dimensions(x, reference)
    trace = reference.covariance.trace()
    return np.array([_distance(x, row, trace, solve) for row in w])


def _distance(x: torch.Tensor, weights: torch.Tensor, reference_trace: torch.Tensor, solve) -> float:
    mean = weights @ x / weights.sum()  # [d]
    own_trace = (weights @ (x - mean).square().sum(1)) / (weights.sum() - 1)
    return float(mean @ mean + own_trace + reference_trace - 2 * solve(weights, mean))


def _by_pictures(x: torch.Tensor, reference: Moments):
    """tr (S1 S2)^(1/2) from an [n, n] problem, n the distinct pictures of the replicate."""
    product = (x @ reference.covariance) @ x.T  # [n, n]

    def solve(weights: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        kept = weights.nonzero().squeeze(1)
        w = weights[kept]
        g = product if len(kept) == len(weights) else product[kept][:, kept]
        row = g @ w / w.sum()  # centring in feature space: (x - m) S (x - m)^T from x S x^T alone
        g = g - row[:, None] - row[None, :] + (w @ row) / w.sum()
        root = w.sqrt()
        return _root_sum(g * root[:, None] * root[None, :] / (w.sum() - 1))

    return solve


def _by_dimensions(x: torch.Tensor, reference: Moments):
    """tr (S1 S2)^(1/2) from a [d, d] problem."""
    values, vectors = torch.linalg.eigh(reference.covariance)
    factor = vectors * values.clamp(min=0).sqrt()  # S2 = factor factor^T
    projected = x @ factor  # [n, d]

    def solve(weights: torch.Tensor, mean: torch.Tensor) -> torch.Tensor:
        centred = projected - mean @ factor
        return _root_sum((centred * weights[:, None]).T @ centred / (weights.sum() - 1))

    return solve


def _root_sum(matrix: torch.Tensor) -> torch.Tensor:
    # Rounding leaves tiny negative eigenvalues where the true ones are 0.
    return torch.linalg.eigvalsh(matrix).clamp(min=0).sqrt().sum()
