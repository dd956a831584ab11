"""Bootstrap over classes: intervals of a value, and of a difference between two runs on the same classes.

Classes are drawn with replacement, whole (Davison and Hinkley 1997, section 3.8, cluster resampling); the reference
stays fixed. The same seed and number of classes give the same draws to every run and metric, so that the difference of
two runs is taken draw by draw and what both share cancels.

Centring: a resample holds about 63% distinct pictures, and FID grows as distinct pictures get fewer (its bias in n:
Binkowski et al. 2018, arXiv 1801.01401; Chong and Forsyth 2020, arXiv 1911.07023). Its replicates therefore lie above
the value, and their plain percentiles often miss it. Every interval is `value + (replicates - mean of replicates)`
percentiles: the spread is the bootstrap's, the place is the value's. For means, where there is no bias, this changes
next to nothing. The interval is about the value at this n, not about FID at n = infinity.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made. replicates: number of draws (>= 2); confidence: in (0, 1)."""

    replicates: int = 200
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.replicates < 2:
            raise ValueError(f"replicates must be at least 2, got {self.replicates}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must be in (0, 1), got {self.confidence}")


def class_draws(bootstrap: Bootstrap, classes: int) -> np.ndarray:
    """How often each class is drawn, [replicates, classes] int64; rows sum to `classes`."""
    generator = np.random.default_rng([bootstrap.seed, classes])
    return generator.multinomial(classes, np.full(classes, 1 / classes), size=bootstrap.replicates)


def class_positions(class_indices: np.ndarray) -> tuple[np.ndarray, int]:
    """Positions 0..k-1 of each picture's class [n], by ascending class index, and k."""
    labels, positions = np.unique(class_indices, return_inverse=True)
    return positions.astype(np.int64), len(labels)


def mean_replicates(values: np.ndarray, positions: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Means [b] of `values` [n] when class c counts draws[b, c] times."""
    classes = draws.shape[1]
    sums = np.bincount(positions, weights=values, minlength=classes)
    counts = np.bincount(positions, minlength=classes)
    return (draws @ sums) / (draws @ counts)


def interval(value: float, replicates: np.ndarray, confidence: float = 0.95) -> list[float]:
    """[low, high] around `value` from its replicates, centred as this file's top says."""
    tail = (1 - confidence) / 2
    low, high = np.quantile(replicates - replicates.mean(), [tail, 1 - tail])
    return [float(value + low), float(value + high)]


def difference(
    value: float, replicates: np.ndarray, other: float, other_replicates: np.ndarray, confidence: float = 0.95
) -> dict:
    """`value - other` and its interval from paired replicates (same draws, same order)."""
    gap = value - other
    return {"value": gap, "interval": interval(gap, replicates - other_replicates, confidence)}
