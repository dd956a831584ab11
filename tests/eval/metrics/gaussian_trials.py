"""Trials with a known answer: how often the interval of a paired difference contains it (docs/statistics.md).

`python -m tests.eval.metrics.gaussian_trials 1000` prints the table again. Features are Gaussian, with a spectrum
that falls as 1/i, in classes drawn again in every trial (an interval is about classes like these), against a fixed
reference. Each effect is done to the very features of the base, as a method with the same seeds changes the same
images.
"""

import dataclasses
import itertools
import sys

import numpy as np
import torch

from eval.metrics.fid import fid_derivatives
from eval.metrics.stats import Bootstrap, class_influences, difference
from eval.reference.moments import Moments

DIMENSIONS, BETWEEN = 32, 0.3  # features; share of the variance that lies between classes
CLASSES, PER_CLASS, EFFECTS = (20, 32, 100), (2, 5, 10), ("shift", "merge")
SHIFT, SHRINK, NOISE = 0.1, 0.95, 0.2
SCALE = np.sqrt(1 / np.arange(1, DIMENSIONS + 1))


@dataclasses.dataclass(frozen=True)
class Coverage:
    """Shares of trials whose interval held the expected difference at this n, and the one of the whole populations.

    bias: the expected difference at this n less the populations', in standard deviations of the difference.
    """

    expected: float
    population: float
    bias: float


def reference() -> Moments:
    """Real images: a Gaussian whose distance to the base is about a tenth of its variance."""
    covariance = np.diag((1.3 * SCALE) ** 2)
    return Moments(torch.from_numpy(0.3 * SCALE), torch.from_numpy(covariance), 10**6)


def population_distance(mean: np.ndarray, scale: np.ndarray, real: Moments) -> float:
    """Frechet distance of N(mean, diag(scale^2)) to the reference, which is diagonal too, in closed form."""
    other = real.covariance.diagonal().sqrt().numpy()
    return float(np.square(mean - real.mean.numpy()).sum() + np.square(scale - other).sum())


def known_difference(effect: str, real: Moments) -> float:
    """Distance of the changed population less that of the base."""
    changed = (SHIFT * SCALE, SCALE) if effect == "shift" else (0 * SCALE, np.hypot(SHRINK, NOISE) * SCALE)
    return population_distance(*changed, real) - population_distance(0 * SCALE, SCALE, real)


def draw(effect: str, classes: int, per_class: int, generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Features [n, d] of one trial: changed, base; images of a class stand together."""
    means = np.sqrt(BETWEEN) * generator.normal(size=(classes, DIMENSIONS))
    within = np.sqrt(1 - BETWEEN) * generator.normal(size=(classes * per_class, DIMENSIONS))
    base = SCALE * (np.repeat(means, per_class, axis=0) + within)
    if effect == "shift":
        return base + SHIFT * SCALE, base
    return SHRINK * base + NOISE * SCALE * generator.normal(size=base.shape), base


def coverage(effect: str, classes: int, per_class: int, trials: int) -> Coverage:
    """Run the trials; the seed is the setting's own."""
    real, generator = reference(), np.random.default_rng([EFFECTS.index(effect), classes, per_class])
    positions, known = np.repeat(np.arange(classes), per_class), known_difference(effect, real)
    found = []
    for _ in range(trials):
        pair = draw(effect, classes, per_class, generator)
        estimates = [fid_derivatives(features, real) for features in pair]
        (one, a), (two, b) = ((value, class_influences(by, positions)) for value, by in estimates)
        gap = difference(one, a, two, b, Bootstrap())
        found.append((gap["value"], *gap["interval"]))
    values, low, high = np.array(found).T
    return Coverage(
        expected=float(np.mean((low <= values.mean()) & (values.mean() <= high))),
        population=float(np.mean((low <= known) & (known <= high))),
        bias=float((values.mean() - known) / values.std(ddof=1)),
    )


def main(trials: int) -> None:
    """Print the table of docs/statistics.md."""
    print("| Effect | Classes | Per class | Covers expected | Covers population | Bias |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for effect, classes, per_class in itertools.product(EFFECTS, CLASSES, PER_CLASS):
        found = coverage(effect, classes, per_class, trials)
        shares = f"{100 * found.expected:.1f}% | {100 * found.population:.1f}%"
        print(f"| {effect} | {classes} | {per_class} | {shares} | {found.bias:+.2f} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
