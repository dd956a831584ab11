"""A reference of statistics: the same distances as its images give, and one sentence for a file that does not fit."""

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from eval.downloads.digests import file_sha256
from eval.errors import RunError
from eval.generation.prompts import PromptSet
from eval.metrics.features import extract
from eval.metrics.fid import moments
from eval.metrics.networks.smoke import SmokeFeatures
from eval.metrics.profiles import ImageSet, RealMetrics, ScoredImage, SmokeMetrics, check_reference, score
from eval.metrics.stats import Bootstrap
from eval.reference import ReferenceConfig
from eval.reference.loading import held_classes, load_reference

CLASSES = PromptSet(template="a {class}", classes=6).selected()
DIGEST = "ab" * 32


class Known(SmokeFeatures):
    """The random network, as if its weights came from a file."""

    sha256 = DIGEST


METRICS = SmokeMetrics(features=Known())


@pytest.fixture
def reference(tmp_path):
    return load_reference(ReferenceConfig(kind="synthetic", per_class=4, size=32), CLASSES, tmp_path / "cache")


@pytest.fixture
def write(tmp_path, reference):
    """A function that writes the images' statistics, changed as asked, and gives the configuration to read them."""
    features = extract(Known(), reference.images, reference.hash, cache=tmp_path / "cache")
    found = moments(features)

    def write(metadata=(), drop=(), **tensors):
        whole = {"mean": found.mean, "covariance": found.covariance, "features": torch.from_numpy(features)} | tensors
        path = tmp_path / "statistics.safetensors"
        output = {"n": str(len(features)), "classifier_sha256": DIGEST} | dict(metadata)
        save_file({name: tensor for name, tensor in whole.items() if name not in drop}, path, metadata=output)
        return ReferenceConfig(kind="moments", path=str(path))

    return write


@pytest.fixture
def images(tmp_path):
    generator, found = np.random.default_rng(0), []
    for kind in CLASSES:
        for number in range(3):
            path = tmp_path / f"{kind.index:04d}_{number:03d}.png"
            Image.fromarray(generator.integers(0, 256, (24, 24, 3), dtype=np.uint8)).save(path)
            found.append(ScoredImage(path.stem, kind.index, f"a {kind.name}", path))
    return ImageSet(tuple(found))


def test_statistics_give_the_distances_of_their_images(tmp_path, reference, write, images):
    statistics = load_reference(write(), CLASSES, tmp_path)
    assert statistics.n == reference.n == 24
    assert statistics.hash == file_sha256(tmp_path / "statistics.safetensors")
    options = {"bootstrap": Bootstrap(replicates=8), "against": {"none": images}}
    by_images, by_statistics = (
        score(images, real, METRICS, cache=tmp_path / name, **options)
        for name, real in (("a", reference), ("b", statistics))
    )
    for name in ("fid_smoke", "kid_smoke"):
        assert by_statistics[name]["n_reference"] == 24
        assert by_statistics[name]["value"] == pytest.approx(by_images[name]["value"], rel=1e-6)
        assert by_statistics[name]["interval"] == pytest.approx(by_images[name]["interval"], rel=1e-3)
    assert f"reference {statistics.hash[:12]}" in by_statistics["fid_smoke"]["protocol"]


def test_another_network_is_refused_before_anything_is_generated(tmp_path, write, images):
    reference = load_reference(write(), CLASSES, tmp_path)
    check_reference(reference, METRICS)
    with pytest.raises(
        RunError, match=r"computed with the classifier of sha256 abababababab, and the metrics use random "
    ):
        check_reference(reference, SmokeMetrics())
    with pytest.raises(RunError, match="use that classifier"):
        check_reference(reference, RealMetrics())
    with pytest.raises(RunError, match="use that classifier"):
        score(images, reference, SmokeMetrics(), cache=tmp_path / "c")


def test_images_go_with_any_network(reference):
    check_reference(reference, SmokeMetrics())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"drop": ("covariance",)}, "has no covariance, so it is not a file of statistics"),
        ({"metadata": {"n": "23"}}, r"features of 23 images do not match \(\[64\], \[64, 64\], \[24, 64\]\)"),
        ({"mean": torch.zeros(3)}, r"do not match \(\[3\], "),
        ({"mean": torch.full((64,), float("nan"))}, "statistics must be finite and of 10 images or more"),
    ],
)
def test_a_file_that_does_not_fit_is_one_line(tmp_path, write, change, message):
    with pytest.raises(RunError, match=message) as caught:
        load_reference(write(**change), CLASSES, tmp_path)
    assert "\n" not in str(caught.value)


def test_a_file_without_metadata_and_no_file_are_one_line(tmp_path):
    save_file({"mean": torch.zeros(2)}, tmp_path / "other.safetensors")
    for name, message in (("other", "has no n, classifier_sha256, covariance, features"), ("gone", "does not exist")):
        with pytest.raises(RunError, match=message):
            load_reference(
                ReferenceConfig(kind="moments", path=str(tmp_path / f"{name}.safetensors")), CLASSES, tmp_path
            )


def test_a_folder_of_images_is_distinguished_from_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RunError, match=r"is a folder, .* for images add reference=imagenet_folder"):
        load_reference(ReferenceConfig(kind="moments", path=str(tmp_path)), CLASSES, tmp_path)


def test_statistics_name_no_classes(tmp_path, write):
    with pytest.raises(RunError, match="has no images, so it cannot name classes"):
        held_classes(write(), CLASSES, tmp_path)
