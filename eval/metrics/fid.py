"""Frechet distance of two feature sets (FID if the features are Inception's), and the influence of each image on it.

FID = |m1 - m2|^2 + tr S1 + tr S2 - 2 tr (S1 S2)^(1/2)   (Heusel et al. 2017, arXiv 1706.08500, Eq. 6)

The last trace is the sum of square roots of the eigenvalues of S1 S2. With X the centred features and S1 = X^T X / (n
- 1) these are the eigenvalues of the symmetric X S2 X^T / (n - 1) [n, n], or of L^T S1 L [d, d] with S2 = L L^T:
whichever is smaller is solved. There is no matrix square root, complex number or epsilon. All is float64, as in the
original.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from eval.decoding import ImageSet
from eval.metrics.features import check_features
from eval.metrics.measures import Distance, FeatureMetric
from eval.reference.moments import MINIMUM_IMAGES, Moments, ReferenceMoments

SPLITS = 8  # of the images into halves


@dataclass(frozen=True)
class _Frechet(Distance):
    kind = "frechet"
    formula = "Frechet distance"

    def derivatives(self, features: np.ndarray) -> tuple[float, np.ndarray]:
        return fid_derivatives(features, self._moments)

    def beside(self, images: ImageSet, features: np.ndarray, positions: np.ndarray) -> dict:
        """The distance at half as many images, and extrapolated to infinitely many."""

        def extrapolated() -> np.ndarray:
            found = extrapolate(features, positions, self._moments)
            return np.array([] if found is None else [found.half, found.n_half, found.infinite])

        half, n_half, infinite = self.cached("extrapolated", images, extrapolated) or (None, None, None)
        return {"half": {"value": half, "n": None if n_half is None else int(n_half)}, "infinite": infinite}

    @cached_property
    def _moments(self) -> Moments:
        if isinstance(self.reference, ReferenceMoments):
            self.reference.check(self.network)
            return self.reference.moments.to(self.setting.device)
        return moments(self.reference_features, self.setting.device, "reference")


@dataclass(frozen=True)
class FrechetDistance(FeatureMetric):
    """The Frechet distance to the reference through a network."""

    better = "lower"
    distance = _Frechet


def moments(features: np.ndarray, device: str | torch.device = "cpu", what: str = "features") -> Moments:
    """Mean and covariance (divided by n - 1) of `features` [n, d]. Errors as `check_features`."""
    check_features(features, what)
    x = torch.as_tensor(features, dtype=torch.float64, device=device)  # [n, d]
    mean = x.mean(0)
    centred = x - mean
    return Moments(mean, centred.T @ centred / (len(x) - 1), len(x))


def fid(features: np.ndarray, reference: Moments) -> float:
    """Frechet distance of `features` [n, d] to the reference's moments. Errors as `check_features`."""
    x = _relative_to_mean(features, reference)
    gap, centred = _centred(x)
    # Rounding yields tiny negative eigenvalues where the true ones are 0.
    root = torch.linalg.eigvalsh(_symmetric(centred, reference)[0]).clamp(min=0).sqrt().sum()
    return float(_distance(gap, centred, reference, root))


def fid_derivatives(features: np.ndarray, reference: Moments) -> tuple[float, np.ndarray]:
    """The distance, and its derivatives [n] with respect to the weight of each image, at weight 1 for all.

    A weight w_i changes the mean by (x_i - m) / n and S1 by ((x_i - m)(x_i - m)^T - S1) / (n - 1), and the trace's
    derivative by S1 is T / 2 with T the map that carries one Gaussian to the other. With the symmetric matrix X S2 X^T
    / (n - 1) above, (x_i - m)^T T (x_i - m) is (n - 1) times the i-th diagonal element of its square root.
    """
    x = _relative_to_mean(features, reference)
    gap, centred = _centred(x)
    n = len(x)
    matrix, projected = _symmetric(centred, reference)
    values, vectors = torch.linalg.eigh(matrix)
    roots = values.clamp(min=0).sqrt()
    if projected is None:
        carried = (n - 1) * vectors.square() @ roots  # [n]
    else:
        kept = values > values[-1] * len(values) * torch.finfo(values.dtype).eps
        carried = (projected @ vectors[:, kept]).square() @ (1 / roots[kept])
    root, squares = roots.sum(), centred.square().sum(1)
    derivatives = 2 * (centred @ gap) / n + (squares - squares.sum() / (n - 1) - carried + root) / (n - 1)
    return float(_distance(gap, centred, reference, root)), derivatives.cpu().numpy()


@dataclass(frozen=True)
class Extrapolated:
    """`half`: distance of `n_half` images, mean over splits; `infinite`: the line in 1/n through n and n/2 at 0."""

    half: float
    n_half: int
    infinite: float


def extrapolate(features: np.ndarray, positions: np.ndarray, reference: Moments) -> Extrapolated | None:
    """How the distance depends on the number of images (Chong and Forsyth 2020, arXiv 1911.07023).

    positions [n]: the images' classes, 0..k-1. Each class's images are split evenly into two halves, `SPLITS` times,
    so `infinite` refers to more images of the same classes. Two sizes determine the line; many splits reduce its noise.
    None if a half has fewer than MINIMUM_IMAGES images.
    """
    n = len(features)
    if n // 2 < MINIMUM_IMAGES:
        return None
    generator = np.random.default_rng(n)
    first = [_deal(positions, generator) for _ in range(SPLITS)]
    parts = [features[half] for mask in first for half in (mask, ~mask)]
    half = float(np.mean([fid(part, reference) for part in parts]))
    step = np.mean([1 / len(part) for part in parts]) - 1 / n
    value = fid(features, reference)
    return Extrapolated(half, n // 2, float(value - (half - value) / step / n))


def _deal(positions: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """[n] bool: the first of two halves. Each class is split evenly, and the sizes differ by at most one."""
    shuffled = generator.permutation(len(positions))
    labels = generator.permutation(positions.max() + 1)  # random also in which half gets a class's odd image
    order = shuffled[np.argsort(labels[positions[shuffled]], kind="stable")]
    first = np.zeros(len(positions), dtype=bool)
    first[order[::2]] = True
    return first


def _relative_to_mean(features: np.ndarray, reference: Moments) -> torch.Tensor:
    check_features(features, "generated images")
    if features.shape[1] != len(reference.mean):
        raise ValueError(f"features must have {len(reference.mean)} columns as the reference, got {features.shape[1]}")
    return torch.as_tensor(features, dtype=torch.float64, device=reference.mean.device) - reference.mean  # [n, d]


def _centred(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = x.mean(0)
    return mean, x - mean


def _distance(gap: torch.Tensor, centred: torch.Tensor, reference: Moments, root: torch.Tensor) -> torch.Tensor:
    own_trace = centred.square().sum() / (len(centred) - 1)
    return gap @ gap + own_trace + reference.covariance.trace() - 2 * root


def _symmetric(centred: torch.Tensor, reference: Moments) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The smaller of the two symmetric matrices at this file's top, and X L [n, d] where it is the one of d."""
    n = len(centred)
    if n <= centred.shape[1]:
        return (centred @ reference.covariance) @ centred.T / (n - 1), None
    values, vectors = torch.linalg.eigh(reference.covariance)
    projected = centred @ (vectors * values.clamp(min=0).sqrt())  # S2 = L L^T
    return projected.T @ projected / (n - 1), projected
