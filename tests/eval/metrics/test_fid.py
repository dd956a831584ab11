import warnings

import numpy as np
import pytest
import scipy.linalg
import torch

from eval.errors import RunError
from eval.metrics.features import TooFewImagesError
from eval.metrics.fid import _deal, extrapolate, fid, fid_derivatives, moments
from eval.reference.moments import MINIMUM_IMAGES


def _features(n, d, seed, shift=0.0):
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    return (generator.normal(size=(n, d)) @ mixing + shift).astype(np.float32)


def _clean_fid(a, b):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clean-fid passes scipy's deprecated disp=
        from cleanfid.fid import fid_from_feats

        return fid_from_feats(a.astype(np.float64), b.astype(np.float64))


@pytest.mark.parametrize(("n", "d"), [(40, 64), (64, 64), (300, 24)], ids=["images", "square", "dimensions"])
def test_equals_clean_fid(n, d):
    a, b = _features(n, d, 1, 0.1), _features(500, d, 2)
    assert fid(a, moments(b)) == pytest.approx(_clean_fid(a, b), rel=1e-3)


def test_pinned_constant():
    # What clean-fid 0.1.35 gives for the same features.
    assert fid(_features(50, 16, 1, 0.2), moments(_features(80, 16, 2))) == pytest.approx(2.261796, rel=1e-5)


def test_closed_form_of_two_known_gaussians():
    x = np.random.default_rng(0).normal(size=(400, 6))
    white = (x - x.mean(0)) @ np.linalg.inv(np.linalg.cholesky(np.cov(x, rowvar=False))).T
    # N(0, 1) against N(3, 4): 3^2 + (2 - 1)^2 in each of six dimensions.
    assert fid(white, moments(white * 2 + 3)) == pytest.approx(6 * (9 + 1), rel=1e-9)


def test_a_set_to_itself_is_zero():
    a = _features(60, 32, 3)
    assert fid(a, moments(a)) == pytest.approx(0, abs=1e-6)


def _weighted(x, weights, reference):
    """The distance with weights, by SciPy's matrix square root."""
    mean = weights @ x / weights.sum()
    covariance = (x - mean).T @ ((x - mean) * weights[:, None]) / (weights.sum() - 1)
    m, s = reference.mean.numpy(), reference.covariance.numpy()
    root = scipy.linalg.sqrtm(covariance @ s).real
    return (mean - m) @ (mean - m) + np.trace(covariance) + np.trace(s) - 2 * np.trace(root)


@pytest.mark.parametrize(("n", "d"), [(12, 16), (120, 16)], ids=["images", "dimensions"])
def test_derivatives_are_those_of_the_weighted_distance(n, d):
    x, reference = _features(n, d, 1, 0.3).astype(np.float64), moments(_features(500, d, 2))
    value, derivatives = fid_derivatives(x, reference)
    assert value == pytest.approx(fid(x, reference), rel=1e-7)  # roots of eigenvalues of 0 keep half the digits
    for image in (0, 5):
        ends = [_weighted(x, np.where(np.arange(n) == image, 1 + h, 1.0), reference) for h in (1e-3, -1e-3)]
        # n < d: SciPy's root of a singular matrix is good to some 1e-5 of the distance.
        assert derivatives[image] == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=2e-2 if n < d else 1e-4)


def test_a_weight_for_all_changes_next_to_nothing():
    x, reference = _features(300, 16, 1, 0.3), moments(_features(500, 16, 2))
    value, derivatives = fid_derivatives(x, reference)
    assert abs(derivatives.sum()) < value / 300


def test_halves_share_out_every_class():
    positions = np.repeat(np.arange(11), [2, 5, 2, 3, 2, 2, 2, 2, 2, 2, 2])
    for seed in range(5):
        first = _deal(positions, np.random.default_rng(seed))
        sizes = np.stack([np.bincount(positions[half], minlength=11) for half in (first, ~first)])
        assert np.abs(sizes[0] - sizes[1]).max() <= 1
        assert abs(first.sum() - (~first).sum()) <= 1


def test_extrapolation_takes_most_of_the_bias_away():
    d, positions = 24, np.arange(150) % 50
    reference = moments(_features(4000, d, 2))
    truth = fid(_features(40000, d, 3, 0.1), reference)
    plain, found = [], []
    for seed in range(10, 20):
        features = _features(150, d, seed, 0.1)
        plain.append(fid(features, reference) - truth)
        extrapolated = extrapolate(features, positions, reference)
        found.append(extrapolated.infinite - truth)
        assert extrapolated.n_half == 75
        assert extrapolated.infinite < fid(features, reference) < extrapolated.half
    assert abs(np.mean(found)) < 0.15 * np.mean(plain)


def test_too_few_images_are_not_halved():
    reference = moments(_features(50, 8, 1))
    assert extrapolate(_features(19, 8, 2), np.arange(19), reference) is None
    assert extrapolate(_features(20, 8, 2), np.arange(20), reference).n_half == 10


def test_too_few_images_are_refused():
    reference = moments(_features(50, 8, 1))
    with pytest.raises(TooFewImagesError, match="9 images, at least 10"):
        fid(_features(MINIMUM_IMAGES - 1, 8, 2), reference)
    with pytest.raises(TooFewImagesError):
        moments(_features(3, 8, 1))


def test_features_that_are_not_finite_are_refused():
    bad = _features(50, 8, 1)
    bad[7, 3] = np.nan
    with pytest.raises(RunError, match=r"1 images are not finite \(first: number 7\)"):
        moments(bad)


def test_other_dimensions_are_refused():
    with pytest.raises(ValueError, match="columns"):
        fid(_features(50, 8, 1), moments(_features(50, 9, 1)))


def test_mean_is_float64_whatever_the_features():
    assert moments(_features(50, 8, 1)).covariance.dtype == torch.float64
