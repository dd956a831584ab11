import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.image import StructuralSimilarityIndexMeasure

from eval.decoding import ImageSet, ScoredImage
from eval.errors import RunError
from eval.metrics.ssim import ssim, ssim_scores


def _image_set(folder, seed, keys, size=32):
    folder.mkdir(exist_ok=True)
    generator, images = np.random.default_rng(seed), []
    for key in keys:
        path = folder / f"{key}.png"
        Image.fromarray(generator.integers(0, 256, (size, size, 3), dtype=np.uint8)).save(path)
        images.append(ScoredImage(key, int(key[:4]), "a text", path))
    return ImageSet(tuple(images))


KEYS = ["0001_000", "0001_001", "0002_000"]


def test_to_itself_is_exactly_one_also_where_flat(tmp_path):
    images = _image_set(tmp_path / "a", 0, KEYS)
    assert (ssim_scores(images, images, cache=tmp_path) == 1.0).all()
    flat = torch.full((3, 20, 20), 0.3)
    assert ssim(flat, flat.clone()) == 1.0


def test_equals_torchmetrics_with_the_range_given():
    generator = torch.Generator().manual_seed(0)
    a, b = (0.2 + 0.3 * torch.rand(3, 24, 30, generator=generator) for _ in range(2))
    expected = StructuralSimilarityIndexMeasure(data_range=1.0)(a[None], b[None])
    assert ssim(a, b) == pytest.approx(float(expected), abs=1e-7)
    assert ssim(a, b) != pytest.approx(float(StructuralSimilarityIndexMeasure()(a[None], b[None])), abs=1e-3)


def test_pairs_by_key_not_by_order(tmp_path):
    images = _image_set(tmp_path / "a", 0, KEYS)
    backwards = ImageSet(images.images[::-1])
    assert (ssim_scores(images, backwards, cache=tmp_path) == 1.0).all()


def test_noise_lowers_it(tmp_path):
    values = ssim_scores(_image_set(tmp_path / "a", 0, KEYS), _image_set(tmp_path / "b", 1, KEYS), cache=tmp_path)
    assert (values < 0.5).all()


def test_other_sizes_and_missing_partners_are_refused(tmp_path):
    images = _image_set(tmp_path / "a", 0, KEYS)
    with pytest.raises(RunError, match=r"0001_000\.png against .* one size, got 32 x 32 and 24 x 24"):
        ssim_scores(images, _image_set(tmp_path / "b", 0, KEYS, size=24), cache=tmp_path)
    with pytest.raises(RunError, match=r"1 images have no baseline image \(first: 0002_000\)"):
        ssim_scores(images, _image_set(tmp_path / "c", 0, KEYS[:2]), cache=tmp_path)
    with pytest.raises(RunError, match="at least 11"):
        ssim(torch.zeros(3, 8, 8), torch.zeros(3, 8, 8))
