import json
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from eval.downloads.weights import WeightFile
from eval.errors import RunError
from eval.generation.prompts import PromptSet
from eval.metrics.features import CLEAN_INCEPTION, extract
from eval.metrics.fid import FrechetDistance, fid, moments
from eval.metrics.kid import kid
from eval.metrics.measures import ImageMetric
from eval.metrics.profiles import (
    RESERVED,
    ImageSet,
    NoMetrics,
    RealMetrics,
    ScoredImage,
    SmokeMetrics,
    identities,
    score,
)
from eval.metrics.stats import Bootstrap
from eval.reference import ReferenceConfig
from eval.reference.loading import load_reference
from eval.tables.spec import METRICS, better, metric_name

CLASSES = PromptSet(template="a {class}", classes=6).selected()
BOOTSTRAP = Bootstrap(replicates=20)


def _images(folder, seed, classes=CLASSES, per_class=3):
    folder.mkdir()
    generator, found = np.random.default_rng(seed), []
    for kind in classes:
        for number in range(per_class):
            path = folder / f"{kind.index:04d}_{number:03d}.png"
            tint = generator.integers(0, 256, (1, 1, 3)) * 0.5 + generator.integers(0, 128, (24, 24, 3))
            Image.fromarray(tint.astype(np.uint8)).save(path)
            found.append(ScoredImage(path.stem, kind.index, f"a {kind.name}", path))
    return ImageSet(tuple(found))


@pytest.fixture
def reference(tmp_path):
    return load_reference(ReferenceConfig(kind="synthetic", per_class=4, size=32), CLASSES, tmp_path / "cache")


@pytest.fixture
def scored(tmp_path, reference):
    images, unmerged = _images(tmp_path / "a", 0), _images(tmp_path / "b", 1)
    options = {"cache": tmp_path / "cache", "bootstrap": BOOTSTRAP, "against": {"none": unmerged}}
    return images, unmerged, options, score(images, reference, SmokeMetrics(), **options)


def test_every_entry_has_all_its_parts(scored):
    *_, found = scored
    assert list(found) == ["fid_smoke", "kid_smoke", "clip_smoke", "ssim"]
    for name, entry in found.items():
        assert entry["n"] == 18
        assert entry["n_reference"] == (24 if name in ("fid_smoke", "kid_smoke") else None)
        low, high = entry["interval"]
        assert low < entry["value"] < high
        assert "n=18" in entry["protocol"]
        assert set(entry["differences"]["none"]) == {"value", "interval"}
    assert "no FID" in found["fid_smoke"]["protocol"]
    assert "no CLIP" in found["clip_smoke"]["protocol"]
    assert "n_reference=24" in found["kid_smoke"]["protocol"]
    json.dumps(found, allow_nan=False)


def test_values_are_those_of_the_parts(scored, reference, tmp_path):
    images, unmerged, _, found = scored
    network = SmokeMetrics().features
    a, b, real = (
        extract(network, each.images, each.hash, cache=tmp_path / "other") for each in (images, unmerged, reference)
    )
    assert found["fid_smoke"]["value"] == pytest.approx(fid(a, moments(real)), rel=1e-6)
    assert found["kid_smoke"]["value"] == pytest.approx(kid(a, real), rel=1e-6)
    gap = fid(a, moments(real)) - fid(b, moments(real))
    assert found["fid_smoke"]["differences"]["none"]["value"] == pytest.approx(gap, rel=1e-6)


def test_a_second_time_is_the_same_from_the_cache(scored, reference, monkeypatch):
    images, _, options, found = scored
    monkeypatch.setattr("eval.metrics.fid.fid_derivatives", lambda *_: pytest.fail("the cache was not used"))
    assert score(images, reference, SmokeMetrics(), **options) == found


def test_the_baseline_against_itself(tmp_path, reference):
    images = _images(tmp_path / "a", 0)
    found = score(
        images, reference, SmokeMetrics(), cache=tmp_path / "c", bootstrap=BOOTSTRAP, against={"none": images}
    )
    assert found["ssim"]["value"] == 1.0
    for entry in found.values():
        assert entry["differences"]["none"] == {"value": 0.0, "interval": [0.0, 0.0]}


def test_order_and_batches_do_not_matter(scored, reference, tmp_path):
    images, _, options, found = scored
    backwards = ImageSet(images.images[::-1])
    other = score(backwards, reference, SmokeMetrics(batch_size=5), **{**options, "cache": tmp_path / "other"})
    for name, entry in found.items():
        assert other[name]["value"] == pytest.approx(entry["value"], rel=1e-3), name
        assert other[name]["interval"] == pytest.approx(entry["interval"], rel=1e-3), name


def test_without_baseline_images_there_is_no_ssim(tmp_path, reference):
    found = score(_images(tmp_path / "a", 0), reference, SmokeMetrics(), cache=tmp_path / "c", bootstrap=BOOTSTRAP)
    assert list(found) == ["fid_smoke", "kid_smoke", "clip_smoke"]


def test_too_few_images_are_none_with_a_reason(tmp_path, reference):
    images = _images(tmp_path / "a", 0, CLASSES[:2])
    found = score(images, reference, SmokeMetrics(), cache=tmp_path / "c", bootstrap=BOOTSTRAP)
    assert found["fid_smoke"]["value"] is None
    assert found["fid_smoke"]["interval"] is None
    assert "6 images, at least 10" in found["fid_smoke"]["reason"]
    assert found["clip_smoke"]["value"] is not None


def test_one_class_has_no_interval(tmp_path, reference):
    images = _images(tmp_path / "a", 0, CLASSES[:1], per_class=12)
    found = score(images, reference, SmokeMetrics(), cache=tmp_path / "c", bootstrap=BOOTSTRAP, against={"x": images})
    assert found["fid_smoke"]["interval"] is None
    assert found["fid_smoke"]["differences"]["x"] == {"value": 0.0, "interval": None}


def test_unpaired_images_are_refused(tmp_path, reference):
    images, fewer = _images(tmp_path / "a", 0), _images(tmp_path / "b", 0, CLASSES[:3])
    with pytest.raises(RunError, match="images of 'none' have other keys, classes or prompts"):
        score(images, reference, SmokeMetrics(), cache=tmp_path, against={"none": fewer})
    with pytest.raises(RunError, match="no images"):
        score(ImageSet(()), reference, SmokeMetrics(), cache=tmp_path)
    with pytest.raises(RunError, match="need a reference"):
        score(images, None, SmokeMetrics(), cache=tmp_path)


def test_no_metrics_needs_nothing(tmp_path):
    NoMetrics().preflight()
    assert score(ImageSet(()), None, NoMetrics(), cache=tmp_path) == {}


def test_real_metrics_stop_at_missing_weights(tmp_path, monkeypatch):
    monkeypatch.setenv("RETOM_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(
        RunError, match=r"inception-2015-12-05\.pt cannot be downloaded from https://nvlabs.* put it at"
    ):
        RealMetrics().preflight()
    own = WeightFile(CLEAN_INCEPTION.name, CLEAN_INCEPTION.url, CLEAN_INCEPTION.sha256, path=str(tmp_path / "my.pt"))
    with pytest.raises(RunError, match=r"my\.pt do not exist"):
        RealMetrics(inception=own).preflight()


def test_profiles_and_names():
    assert (RealMetrics.profile, SmokeMetrics.profile, NoMetrics.profile) == ("real", "smoke", "none")
    real = RealMetrics()
    assert [*real.columns] == ["fid", "fid_legacy_pytorch", "kid", "clip", "clip_vitl14", "ssim"]
    with pytest.raises(ValueError, match=r"metrics\.batch_size must be an integer of at least 1, got 0"):
        RealMetrics(batch_size=0)


@dataclass(frozen=True)
class Brightness(ImageMetric):
    """The mean pixel."""

    of_batch: bool = False

    @property
    def identity(self):
        return f"mean pixel {self.of_batch}"

    def load(self, device):
        return lambda images: images.mean() if self.of_batch else images.mean((1, 2, 3))


def test_a_further_metric_has_all_that_the_others_have(tmp_path, reference):
    images, other = _images(tmp_path / "a", 0), _images(tmp_path / "b", 1)
    options = {"cache": tmp_path / "c", "bootstrap": BOOTSTRAP, "against": {"none": other}}
    shipped = score(images, reference, SmokeMetrics(), **options)
    found = score(images, reference, SmokeMetrics(extra={"brightness": Brightness()}), **options)
    assert {name: found[name] for name in shipped} == shipped
    assert [*found][-1] == "brightness"
    pixels = [np.asarray(Image.open(image.path)).mean() / 255 for image in images.images]
    entry = found["brightness"]
    assert entry["value"] == pytest.approx(np.mean(pixels), rel=1e-5)
    assert entry["interval"][0] < entry["value"] < entry["interval"][1]
    assert set(entry["differences"]["none"]) == {"value", "interval"}
    assert identities(SmokeMetrics()).items() < identities(SmokeMetrics(extra={"brightness": Brightness()})).items()


def test_a_further_metric_says_which_values_are_better(tmp_path, reference):
    class Darkness(Brightness):
        better = "lower"

    class Wrong(Brightness):
        better = "less"

    extra = {"bright": Brightness(), "dark": Darkness(), "fid_mine": FrechetDistance(SmokeMetrics().features)}
    found = score(_images(tmp_path / "a", 0), reference, SmokeMetrics(extra=extra), cache=tmp_path / "c")
    assert {name: entry["better"] for name, entry in found.items() if "better" in entry} == {
        "dark": "lower",
        "fid_mine": "lower",
    }
    with pytest.raises(ValueError, match=r"better of metrics\.extra\.a must be 'lower', 'higher' or None, got 'less'"):
        SmokeMetrics(extra={"a": Wrong()})


@pytest.mark.parametrize("profile", [SmokeMetrics(), RealMetrics()])
def test_classes_of_the_shipped_metrics_have_the_direction_of_their_columns(profile):
    assert {name: metric.better for name, metric in profile.columns.items()} == {
        name: better(name) for name in profile.columns
    }


def test_what_is_no_further_metric_is_refused(tmp_path, reference):
    for name in ("fid", "clip_smoke", "s_per_im", "Bright", "a-b"):
        with pytest.raises(ValueError, match=rf"metrics\.extra names columns .* got '{name}'"):
            SmokeMetrics(extra={name: Brightness()})
    with pytest.raises(ValueError, match=r"metrics\.extra\.bright must be an eval\.metrics\.measures\.Metric"):
        RealMetrics(extra={"bright": SmokeMetrics().features})
    with pytest.raises(ValueError, match=r"one number for each of 18 images, got \[\]"):
        score(_images(tmp_path / "a", 0), reference, SmokeMetrics(extra={"b": Brightness(True)}), cache=tmp_path / "c")


def test_no_further_metric_has_the_name_of_one_in_tables():
    assert {*METRICS, *(metric_name(name, "smoke") for name in ("fid", "kid", "clip"))} == {*RESERVED}
