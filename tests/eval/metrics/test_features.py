import hashlib
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from eval.decoding import ImageSet, ScoredImage, contents_hash
from eval.downloads.digests import file_sha256
from eval.downloads.weights import WeightFile
from eval.errors import RunError
from eval.metrics.features import CleanFidNetwork, extract


class Net(torch.nn.Module):
    """Stands for the published TorchScript file: `layers` gives [B, 2048] from a normalised [B, 3, 299, 299]."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 2048, 9, stride=32), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
        )

    def forward(self, x):
        return self.layers(x)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "inception-2015-12-05.pt"
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # The published file is one of torch.jit.script. It is deprecated, by a FutureWarning or a DeprecationWarning.
        warnings.filterwarnings("ignore", r".*torch\.jit\.script")
        torch.manual_seed(0)
        torch.jit.script(Net()).save(path)
    return CleanFidNetwork("clean", WeightFile(path.name, "http://x", file_sha256(path), path=str(path)))


@pytest.fixture
def images(tmp_path):
    generator, found = np.random.default_rng(0), []
    for index, size in enumerate([(40, 30), (64, 64), (1, 1), (299, 299), (500, 20)]):
        path = tmp_path / f"{index}.png"
        Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
        found.append(ScoredImage(str(index), index, "", path))
    return ImageSet(tuple(found))


def _clean_fid(network, images):
    """clean-fid's own loop over files on its own wrapper of the same network."""
    from cleanfid.fid import get_files_features
    from cleanfid.inception_torchscript import InceptionV3W

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = InceptionV3W(str(network.weights.locate().parent), download=False)
        files = [str(image.path) for image in images.images]
        return get_files_features(files, model, num_workers=0, device=torch.device("cpu"), verbose=False)


def test_equals_clean_fid_on_the_same_network(network, images, tmp_path):
    features = extract(network, images.images, images.hash, cache=tmp_path)
    assert features.shape == (5, 2048)
    assert features.dtype == np.float32
    assert np.allclose(features, _clean_fid(network, images), atol=1e-5)


def test_batches_do_not_matter(network, images, tmp_path):
    one, three = (
        extract(network, images.images, images.hash, cache=tmp_path / str(size), batch_size=size) for size in (1, 3)
    )
    assert np.allclose(one, three, atol=1e-5)


def test_cached_by_contents_and_network(network, images, tmp_path, monkeypatch):
    first = extract(network, images.images, images.hash, cache=tmp_path)
    monkeypatch.setattr(CleanFidNetwork, "load", lambda *_: pytest.fail("the cache was not used"))
    assert np.array_equal(extract(network, images.images, images.hash, cache=tmp_path), first)
    other = CleanFidNetwork("legacy_pytorch", network.weights)
    with pytest.raises(pytest.fail.Exception):
        extract(other, images.images, images.hash, cache=tmp_path)
    backwards = contents_hash(["a"] * 5, images.images[::-1])
    with pytest.raises(pytest.fail.Exception):
        extract(network, images.images[::-1], backwards, cache=tmp_path)


def test_what_is_not_finite_is_not_saved(network, images, tmp_path, monkeypatch):
    with monkeypatch.context() as broken:
        broken.setattr(CleanFidNetwork, "load", lambda *_: lambda batch: torch.full((len(batch), 4), torch.nan))
        assert np.isnan(extract(network, images.images, images.hash, cache=tmp_path)).all()
    assert np.isfinite(extract(network, images.images, images.hash, cache=tmp_path)).all()


@pytest.mark.parametrize("keep", [0, 100, 3000])
def test_a_damaged_cache_is_computed_again_and_said(network, images, tmp_path, caplog, keep):
    first = extract(network, images.images, images.hash, cache=tmp_path)
    (path,) = (tmp_path / "features").glob("*.npz")
    path.write_bytes(path.read_bytes()[:keep])
    assert np.array_equal(extract(network, images.images, images.hash, cache=tmp_path), first)
    assert "damaged" in caplog.text
    with np.load(path) as stored:
        assert np.array_equal(stored["values"], first)


def test_flipped_bits_in_the_cache_are_seen(network, images, tmp_path, caplog):
    first = extract(network, images.images, images.hash, cache=tmp_path)
    (path,) = (tmp_path / "features").glob("*.npz")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    assert np.array_equal(extract(network, images.images, images.hash, cache=tmp_path), first)
    assert "damaged" in caplog.text


def test_an_image_that_does_not_decode_is_named(network, images, tmp_path):
    path = images.images[3].path
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(RunError, match=r"3\.png does not decode"):
        extract(network, images.images, images.hash, cache=tmp_path)


def test_reading_leaves_the_warning_filters_alone(network, images, tmp_path):
    before = list(warnings.filters)
    extract(network, images.images, images.hash, cache=tmp_path)
    CleanFidNetwork("legacy_pytorch", network.weights).preparer()
    assert warnings.filters == before


def test_missing_weights_stop_before_anything(tmp_path):
    digest = hashlib.sha256(b"").hexdigest()
    weights = WeightFile("a.pt", "http://source/a.pt", digest, path=str(tmp_path / "a.pt"))
    with pytest.raises(RunError, match=r"a\.pt do not exist; put http://source/a\.pt there"):
        CleanFidNetwork("clean", weights).preflight()


def test_unknown_modes_are_refused(network):
    with pytest.raises(ValueError, match="mode must be clean or legacy_pytorch, got 'tensorflow'"):
        CleanFidNetwork("tensorflow", network.weights)


def test_legacy_pytorch_equals_clean_fids_builder_on_random_weights(images, tmp_path, monkeypatch):
    from cleanfid import inception_pytorch
    from cleanfid.fid import get_files_features
    from torchvision.models import inception_v3

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False).state_dict()
        path = tmp_path / "pt_inception.pth"
        torch.save(state, path)
        monkeypatch.setattr(inception_pytorch, "load_state_dict_from_url", lambda *_, **__: state)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # clean-fid passes torchvision's old pretrained=
            theirs = inception_pytorch.InceptionV3(output_blocks=[3], resize_input=False).eval()
    files = [str(image.path) for image in images.images[:2]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = get_files_features(
            files,
            lambda x: theirs(x / 255)[0].squeeze(-1).squeeze(-1),
            num_workers=0,
            device=torch.device("cpu"),
            mode="legacy_pytorch",
            verbose=False,
        )
    network = CleanFidNetwork("legacy_pytorch", WeightFile("x", "http://x", file_sha256(path), path=str(path)))
    features = extract(network, images.images[:2], "two", cache=tmp_path)
    assert features.shape == (2, 2048)
    assert np.allclose(features, expected, rtol=1e-4, atol=1e-6)
