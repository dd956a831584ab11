import numpy as np
import pytest
import torch
from PIL import Image

from eval.metrics.networks.smoke import SmokeClip, SmokeFeatures


def _images(n):
    generator = np.random.default_rng(0)
    return [Image.fromarray(generator.integers(0, 256, (40, 52, 3), dtype=np.uint8)) for _ in range(n)]


def test_features_are_fixed_and_leave_the_global_generator_alone():
    network, before = SmokeFeatures(), torch.random.get_rng_state()
    batch = torch.stack([network.preparer()(image) for image in _images(5)])
    features = network.load("cpu")(batch)
    assert features.shape == (5, 64)
    assert torch.equal(features, SmokeFeatures().load("cpu")(batch))
    assert not torch.equal(features, SmokeFeatures(seed=8).load("cpu")(batch))
    assert torch.equal(before, torch.random.get_rng_state())


def test_features_do_not_depend_on_the_batch():
    network = SmokeFeatures()
    batch = torch.stack([network.preparer()(image) for image in _images(5)])
    embed = network.load("cpu")
    assert torch.allclose(embed(batch), torch.cat([embed(row[None]) for row in batch]), atol=1e-5)


def test_towers_tell_texts_and_images_apart():
    network = SmokeClip()
    embed, embed_texts = network.load("cpu")
    texts = embed_texts(["a photograph of a tench", "a photograph of a goldfish", "", "é"])
    images = embed(torch.stack([network.preparer()(image) for image in _images(2)]))
    assert texts.shape == (4, 32)
    assert images.shape == (2, 32)
    assert torch.isfinite(texts).all()
    assert not torch.allclose(texts[0], texts[1])


def test_the_first_features_are_pinned():
    feature = SmokeFeatures().load("cpu")(torch.ones(1, 3, 64, 64))[0, :3]
    assert feature.tolist() == pytest.approx(PINNED, abs=1e-4)


PINNED = [0.06414, 0.10913, 1.78834]


@pytest.mark.parametrize("network", [SmokeFeatures(), SmokeClip()])
def test_the_identity_says_what_it_is_not(network):
    assert "random" in network.identity
    assert network.identity.endswith(("no FID", "no CLIP"))
