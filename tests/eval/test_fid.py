import warnings

import numpy as np
import pytest
import torch

from eval.errors import RunError
from eval.fid import MINIMUM_IMAGES, TooFewImagesError, fid, fid_replicates, moments


def _features(n, d, seed, shift=0.0):
    generator = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(d, d)) / np.sqrt(d)
    return (generator.normal(size=(n, d)) @ mixing + shift).astype(np.float32)


def _clean_fid(a, b):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # clean-fid passes scipy's deprecated disp=
        from cleanfid.fid import fid_from_feats

        return fid_from_feats(a.astype(np.float64), b.astype(np.float64))


@pytest.mark.parametrize(("n", "d"), [(40, 64), (64, 64), (300, 24)], ids=["pictures", "square", "dimensions"])
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


@pytest.mark.parametrize(("n", "d"), [(40, 64), (300, 24)])
def test_weights_are_the_same_as_copies(n, d):
    a, b = _features(n, d, 1, 0.1), _features(500, d, 2)
    counts = np.random.default_rng(5).integers(0, 3, size=(3, n))
    expected = [fid(np.repeat(a, row, axis=0), moments(b)) for row in counts]
    assert fid_replicates(a, counts, moments(b)) == pytest.approx(expected, rel=1e-6)


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
