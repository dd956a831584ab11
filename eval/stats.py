"""Bootstrap over classes: intervals of a value, and of a difference between two runs on the same classes.

Classes are drawn with replacement, whole (Davison and Hinkley 1997, section 3.8, cluster resampling); the reference
stays fixed. The same seed and number of classes give the same draws to every run and metric, so that the difference of
two runs is taken draw by draw and what both share cancels.

Rescaling: a plain resample holds 63% distinct pictures, and FID depends on how many there are (its bias in n:
Binkowski et al. 2018, arXiv 1801.01401; Chong and Forsyth 2020, arXiv 1911.07023). Its replicates lie far above the
value and scatter up to four times as far as fresh pictures would (Gaussian features, n = d). So a class drawn c times
weighs 1 + STEP (c - 1), and deviations are divided by STEP again: the rescaling bootstrap (Rao and Wu 1988, JASA
83:231). No picture drops out. For means this is the plain bootstrap, exactly. For FID (simulated, Gaussian features)
the scatter is 1.5 times the true one at n = d and 1.1 times at n = 3 d; that of paired differences 1.2 times, whose
95% intervals held the expected difference in 91% (32 classes) and 97% (100 classes) of 120 trials. What bias is left
is taken out by centring: an interval is the percentiles of `value + (replicates - mean of replicates) / STEP`. It is
about the value at this n, not about FID at n = infinity.
"""

from dataclasses import dataclass

import numpy as np

STEP = 0.2  # the smaller, the more linear; 0.5 gives 1.9 and 1.2 where 0.2 gives 1.5 and 1.1


@dataclass(frozen=True)
class Bootstrap:
    """How intervals are made. replicates: number of draws (>= 2); confidence: in (0, 1)."""

    replicates: int = 100
    seed: int = 0
    confidence: float = 0.95

    def __post_init__(self) -> None:
        if self.replicates < 2:
            raise ValueError(f"replicates must be at least 2, got {self.replicates}")
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must be in (0, 1), got {self.confidence}")


def class_weights(bootstrap: Bootstrap, classes: int) -> np.ndarray:
    """What each class weighs in each replicate, [replicates, classes] float64 >= 1 - STEP; rows sum to `classes`."""
    generator = np.random.default_rng([bootstrap.seed, classes])
    draws = generator.multinomial(classes, np.full(classes, 1 / classes), size=bootstrap.replicates)
    return 1 + STEP * (draws - 1.0)


def class_positions(class_indices: np.ndarray) -> tuple[np.ndarray, int]:
    """Positions 0..k-1 of each picture's class [n], by ascending class index, and k."""
    labels, positions = np.unique(class_indices, return_inverse=True)
    return positions.astype(np.int64), len(labels)


def mean_replicates(values: np.ndarray, positions: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Means [b] of `values` [n] when class c weighs weights[b, c]."""
    classes = weights.shape[1]
    sums = np.bincount(positions, weights=values, minlength=classes)
    counts = np.bincount(positions, minlength=classes)
    return (weights @ sums) / (weights @ counts)


def interval(value: float, replicates: np.ndarray, confidence: float = 0.95) -> list[float]:
    """[low, high] around `value` from its replicates, centred as this file's top says."""
    tail = (1 - confidence) / 2
    low, high = np.quantile((replicates - replicates.mean()) / STEP, [tail, 1 - tail])
    return [float(value + low), float(value + high)]


def difference(
    value: float, replicates: np.ndarray, other: float, other_replicates: np.ndarray, confidence: float = 0.95
) -> dict:
    """`value - other` and its interval from paired replicates (same draws, same order)."""
    gap = value - other
    return {"value": gap, "interval": interval(gap, replicates - other_replicates, confidence)}
