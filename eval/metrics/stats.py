"""Bootstrap over classes: intervals of a value, and of a difference between two runs on the same classes.

Classes are resampled as units with replacement (Davison and Hinkley 1997, section 3.8, cluster resampling); the
reference is fixed. The same seed and number of classes give every run and metric the same resamples, so the difference
of two runs is taken class by class and what both share cancels.

Linear in the weights: a plain resample has 63% distinct images, and FID depends on their number (its bias in n:
Binkowski et al. 2018, arXiv 1801.01401; Chong and Forsyth 2020, arXiv 1911.07023). Its replicates are therefore far
above the value and scatter up to four times as much as fresh images would. Instead, every metric returns its
derivative with respect to the weight of each class (the empirical influence: Hampel 1974, JASA 69:383; Efron 1982,
chapter 6), which is a class's contribution to a resample. For a mean this is exact; FID and KID are linearised.

Studentised: a resample's deviation is divided by that resample's own standard error, and the interval is that of the
quotient (bootstrap-t: Efron 1982, section 10.10; Davison and Hinkley 1997, section 5.2.1). Percentiles do not account
for few classes (coverage 92% at 20 classes, 86% at 6, for means of normal values), and symmetrical intervals do not
account for skewness (Hesterberg 2015, The American Statistician 69:371). docs/statistics.md has the measured coverage.

An interval is about the value at this n and about classes like these, not about FID at n = infinity.
"""

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from eval.checks import check_integer

CONFIDENCE = 0.95
MINIMUM_CLASSES = 5  # with fewer, too many resamples contain a single class


@dataclass(frozen=True)
class Bootstrap:
    """Settings of intervals. replicates: number of resamples (>= 2); seed: of the resamples (>= 0). Else ValueError."""

    replicates: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        check_integer("bootstrap.replicates", self.replicates, 2)
        check_integer("bootstrap.seed", self.seed, 0)


@functools.lru_cache(maxsize=2)
def class_draws(bootstrap: Bootstrap, classes: int) -> np.ndarray:
    """How often each class is in each resample, [replicates, classes] float64; rows sum to `classes`."""
    generator = np.random.default_rng([bootstrap.seed, classes])
    draws = generator.multinomial(classes, np.full(classes, 1 / classes), size=bootstrap.replicates).astype(np.float64)
    draws.flags.writeable = False  # the array is shared by all callers
    return draws


def class_positions(class_indices: np.ndarray) -> tuple[np.ndarray, int]:
    """The position 0..k-1 of each image's class [n], by ascending class index, and k."""
    labels, positions = np.unique(class_indices, return_inverse=True)
    return positions.astype(np.int64), len(labels)


def class_influences(derivatives: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Influences [k] of classes from a value's derivatives [n] with respect to each image's weight, at weight 1."""
    return (positions.max() + 1) * np.bincount(positions, weights=derivatives)


def mean_influences(values: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Influences [k] of classes on the mean of `values` [n]."""
    return class_influences((values - values.mean()) / len(values), positions)


def interval(value: float, influences: np.ndarray, bootstrap: Bootstrap) -> list[float] | None:
    """The 95% interval [low, high] around `value` from the influences [k] of its classes.

    None if there is no interval: fewer than MINIMUM_CLASSES classes, or so few of them differ from the others that more
    resamples than an interval leaves out contain none of them.
    """
    classes = len(influences)
    if classes < MINIMUM_CLASSES:
        return None
    deviations = influences - influences.mean()
    error = np.sqrt(np.square(deviations).sum() / (classes * (classes - 1)))
    if error == 0:
        return [float(value), float(value)]
    tail = (1 - CONFIDENCE) / 2
    quotients = _quotients(deviations, class_draws(bootstrap, classes))
    # No interpolation: next to an infinite quotient it would not return a number.
    low, high = np.quantile(quotients, tail, method="lower"), np.quantile(quotients, 1 - tail, method="higher")
    ends = [float(value - high * error), float(value - low * error)]
    return ends if np.isfinite(ends).all() else None


def difference(
    value: float, influences: np.ndarray, other: float, other_influences: np.ndarray, bootstrap: Bootstrap
) -> dict:
    """`value - other` and its interval from the influences of the same classes in the same order."""
    gap = value - other
    return {"value": gap, "interval": interval(gap, influences - other_influences, bootstrap)}


def median_interval(values: Sequence[float]) -> list[float] | None:
    """95% interval of the median of `values` from their order statistics; None for fewer than six values."""
    import scipy.stats  # imported late: most of this file does not need scipy

    if len(values) < 2:
        return None
    found = scipy.stats.quantile_test(values, p=0.5).confidence_interval(CONFIDENCE)
    # One end alone is not an interval.
    return None if math.isnan(found.low) or math.isnan(found.high) else [float(found.low), float(found.high)]


def _quotients(deviations: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The mean of each resample over its own standard error [b]; infinite if all its classes are alike."""
    classes = len(deviations)
    means = draws @ deviations / classes
    spread = (draws @ np.square(deviations) / classes - np.square(means)).clip(min=0)
    errors = np.sqrt(spread / (classes - 1))
    # The rounding error of a zero spread is not a standard error.
    alike = errors <= 1e-7 * np.abs(means)
    return np.where(alike, np.copysign(np.inf, means), means / np.where(alike, 1, errors))


def shift(one: Sequence[float], other: Sequence[float]) -> tuple[float, list[float] | None]:
    """How much larger the values of `one` are than those of `other` (unpaired), with the 95% interval.

    The median of all pairwise differences, and Mann and Whitney's interval around it (Hodges and Lehmann 1963;
    Hollander, Wolfe and Chicken 2014, section 4.3, normal approximation). The only assumption is that the two
    distributions differ by a shift. The interval is None if there are too few values.
    """
    gaps = np.sort(np.subtract.outer(np.asarray(one, dtype=float), np.asarray(other, dtype=float)), axis=None)
    n, m = len(one), len(other)
    deviation = NormalDist().inv_cdf((1 + CONFIDENCE) / 2) * np.sqrt(n * m * (n + m + 1) / 12)
    rank = int(np.floor(n * m / 2 - deviation))
    return float(np.median(gaps)), None if rank < 1 else [float(gaps[rank - 1]), float(gaps[-rank])]
