import numpy as np
import pytest
import torch
from torchmetrics.image.kid import poly_mmd

from eval.metrics.features import TooFewImagesError
from eval.metrics.kid import kid, kid_derivatives, polynomial_kernel


def _features(n, seed, shift=0.0, d=32):
    return (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)


def test_equals_torchmetrics_on_the_full_set():
    a, b = _features(120, 1, 0.1), _features(120, 2)
    expected = poly_mmd(torch.from_numpy(b).double(), torch.from_numpy(a).double())
    assert kid(a, b) == pytest.approx(float(expected), rel=1e-9)


def test_equals_clean_fid_on_the_full_set():
    from cleanfid.fid import kernel_distance

    a, b = _features(120, 1, 0.1), _features(120, 2)
    expected = kernel_distance(b.astype(np.float64), a.astype(np.float64), num_subsets=1)
    assert kid(a, b) == pytest.approx(expected, rel=1e-9)


def test_unequal_sizes_by_plain_loops():
    a, b = _features(11, 1, 0.3, d=4), _features(17, 2, d=4)

    def k(x, y):
        return (float(x @ y) / 4 + 1) ** 3

    aa, bb = a.astype(np.float64), b.astype(np.float64)
    own = sum(k(x, y) for i, x in enumerate(aa) for j, y in enumerate(aa) if i != j) / (11 * 10)
    real = sum(k(x, y) for i, x in enumerate(bb) for j, y in enumerate(bb) if i != j) / (17 * 16)
    cross = sum(k(x, y) for x in aa for y in bb) / (11 * 17)
    assert kid(a, b) == pytest.approx(own + real - 2 * cross, rel=1e-9)


def test_unbiased_around_zero():
    values = [kid(_features(60, seed), _features(90, seed + 1000)) for seed in range(40)]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(len(values))


def test_derivatives_are_those_of_the_weighted_value():
    a, b = _features(40, 1, 0.2), _features(60, 2)
    value, derivatives = kid_derivatives(a, b)
    x, y = torch.from_numpy(a).double(), torch.from_numpy(b).double()
    within, across = polynomial_kernel(x, x).fill_diagonal_(0).numpy(), polynomial_kernel(x, y).mean(1).numpy()

    def weighted(w):
        own = w @ within @ w / (w.sum() ** 2 - (w**2).sum())
        return own - 2 * (w @ across) / w.sum()

    for index in (0, 7):
        ends = [weighted(np.where(np.arange(40) == index, 1 + h, 1.0)) for h in (1e-5, -1e-5)]
        assert derivatives[index] == pytest.approx((ends[0] - ends[1]) / 2e-5, rel=1e-6)
    assert value == kid(a, b)
    assert derivatives.sum() == pytest.approx(0, abs=1e-12)


def test_too_few_images_are_refused():
    with pytest.raises(TooFewImagesError):
        kid(_features(4, 1), _features(60, 2))
