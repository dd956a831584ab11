"""The metric profiles, and the function that scores a run's images: value, interval, and paired differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import torch

from eval.checks import check_integer
from eval.decoding import ImageSet, ScoredImage
from eval.downloads.weights import WeightFile
from eval.errors import RunError
from eval.metrics.clip_score import VIT_B32, VIT_L14, ClipNetwork, OpenClip
from eval.metrics.features import CLEAN_INCEPTION, PYTORCH_INCEPTION, CleanFidNetwork, FeatureNetwork
from eval.metrics.fid import TooFewImagesError
from eval.metrics.measures import Distance, Estimate, Likeness, Measure, Setting, TextAgreement
from eval.metrics.networks.smoke import SmokeClip, SmokeFeatures
from eval.metrics.stats import Bootstrap, difference, interval
from eval.progress import Progress
from eval.reference import ReferenceSet
from eval.reference.moments import MINIMUM_IMAGES, ReferenceMoments

__all__ = ["ImageSet", "NoMetrics", "RealMetrics", "ScoredImage", "SmokeMetrics", "check_reference", "score"]


class Metrics(Protocol):
    """A profile: named networks per kind of measure. `profile` is "real", "smoke" or "none"."""

    profile: ClassVar[str]
    batch_size: int

    @property
    def frechet(self) -> dict[str, FeatureNetwork]: ...
    @property
    def kernel(self) -> dict[str, FeatureNetwork]: ...
    @property
    def text(self) -> dict[str, ClipNetwork]: ...

    def preflight(self) -> None: ...


@dataclass(frozen=True)
class RealMetrics:
    """FID and KID on clean-fid's networks, CLIP scores on open_clip's. `batch_size`: images per batch, at least 1.

    ValueError: `inception` has another sha256 than the published file, which is TorchScript and therefore code.
    """

    inception: WeightFile = CLEAN_INCEPTION
    inception_pytorch: WeightFile = PYTORCH_INCEPTION
    clip: OpenClip = VIT_B32
    clip_vitl14: OpenClip = VIT_L14
    batch_size: int = 32
    profile: ClassVar[str] = "real"

    def __post_init__(self) -> None:
        check_integer("metrics.batch_size", self.batch_size, 1)
        if self.inception.sha256 != CLEAN_INCEPTION.sha256:
            raise ValueError(
                f"inception must be the published file (sha256 {CLEAN_INCEPTION.sha256}), got {self.inception.sha256}; "
                "a TorchScript file is code as well as weights"
            )

    @property
    def frechet(self) -> dict[str, FeatureNetwork]:
        """Networks of Frechet distances."""
        return {
            "fid": CleanFidNetwork("clean", self.inception),
            "fid_legacy_pytorch": CleanFidNetwork("legacy_pytorch", self.inception_pytorch),
        }

    @property
    def kernel(self) -> dict[str, FeatureNetwork]:
        """Networks of kernel distances."""
        return {"kid": CleanFidNetwork("clean", self.inception)}

    @property
    def text(self) -> dict[str, ClipNetwork]:
        """Networks of text agreement."""
        return {"clip": self.clip, "clip_vitl14": self.clip_vitl14}

    def preflight(self) -> None:
        """Locate or download every weight file. RunError: which file, from where, where to put it."""
        _preflight(self)


@dataclass(frozen=True)
class SmokeMetrics:
    """The same measures on small networks (random by default), under names ending in _smoke."""

    features: FeatureNetwork = field(default_factory=SmokeFeatures)
    clip: ClipNetwork = field(default_factory=SmokeClip)
    batch_size: int = 64
    profile: ClassVar[str] = "smoke"

    def __post_init__(self) -> None:
        check_integer("metrics.batch_size", self.batch_size, 1)

    @property
    def frechet(self) -> dict[str, FeatureNetwork]:
        """Networks of Frechet distances."""
        return {"fid_smoke": self.features}

    @property
    def kernel(self) -> dict[str, FeatureNetwork]:
        """Networks of kernel distances."""
        return {"kid_smoke": self.features}

    @property
    def text(self) -> dict[str, ClipNetwork]:
        """Networks of text agreement."""
        return {"clip_smoke": self.clip}

    def preflight(self) -> None:
        """As RealMetrics. The random networks need no file; the trained ones ship with the package."""
        _preflight(self)


@dataclass(frozen=True)
class NoMetrics:
    """Measures nothing."""

    profile: ClassVar[str] = "none"

    def preflight(self) -> None:
        """No requirements."""


def _preflight(metrics: Metrics) -> None:
    for network in (*metrics.frechet.values(), *metrics.kernel.values(), *metrics.text.values()):
        network.preflight()


def check_reference(reference: ReferenceSet | ReferenceMoments, metrics: Metrics) -> None:
    """RunError if the reference is statistics of another network than one that `metrics` uses."""
    if isinstance(reference, ReferenceMoments):
        for network in (*metrics.frechet.values(), *metrics.kernel.values()):
            reference.check(network)


def score(
    images: ImageSet,
    reference: ReferenceSet | ReferenceMoments | None,
    metrics: Metrics | NoMetrics,
    *,
    cache: Path,
    device: str | torch.device = "cpu",
    bootstrap: Bootstrap | None = None,
    against: Mapping[str, ImageSet] | None = None,
    progress: Progress | None = None,
) -> dict[str, dict]:
    """Every metric of the profile for `images`; see docs/architecture.md for the fields.

    against: other runs' images of the same keys, classes and prompts; each metric gets its paired difference to each.
    SSIM is measured if `against` contains "none". A distance on too few images has value None and a reason.
    RunError: no images, no reference, other keys in `against`, an image that does not decode, features not finite.
    """
    if metrics.profile == "none":
        return {}
    against = dict(against or {})
    _check_inputs(images, reference, against)
    setting = Setting(Path(cache), device, metrics.batch_size, bootstrap or Bootstrap(), progress)
    measures = _measures(metrics, reference, against, setting)
    _compute_arrays(list(measures.values()), images, reference, against, setting)
    return {name: _entry(measure, images, against, setting.bootstrap) for name, measure in measures.items()}


def _check_inputs(images: ImageSet, reference: object | None, against: Mapping[str, ImageSet]) -> None:
    if not len(images):
        raise RunError("there are no images to score")
    if reference is None:
        raise RunError("distances need a reference; set one (reference=...) or switch metrics off (metrics=none)")
    own = {image.key: (image.class_index, image.prompt) for image in images.images}
    for name, other in against.items():
        if own != {image.key: (image.class_index, image.prompt) for image in other.images}:
            raise RunError(f"the images of {name!r} have other keys, classes or prompts; differences must be paired")


def _measures(
    metrics: Metrics, reference: ReferenceSet | ReferenceMoments, against: Mapping[str, ImageSet], setting: Setting
) -> dict[str, Measure]:
    measures: dict[str, Measure] = {}
    for kind, networks in (("frechet", metrics.frechet), ("kernel", metrics.kernel)):
        measures.update({name: Distance(kind, network, reference, setting) for name, network in networks.items()})
    measures.update({name: TextAgreement(network, setting) for name, network in metrics.text.items()})
    if "none" in against:
        measures["ssim"] = Likeness(against["none"], setting)
    return measures


def _compute_arrays(
    measures: Sequence[Measure],
    images: ImageSet,
    reference: ReferenceSet | ReferenceMoments,
    against: Mapping[str, ImageSet],
    setting: Setting,
) -> None:
    """Fill the cache with the per-image arrays of all measures, decoding each image once."""
    setting.arrays([measure.task(each) for measure in measures for each in (images, *against.values())])
    if isinstance(reference, ReferenceSet) and len(images) >= MINIMUM_IMAGES:
        setting.arrays([measure.task(reference) for measure in measures if isinstance(measure, Distance)])


def _entry(measure: Measure, images: ImageSet, against: Mapping[str, ImageSet], bootstrap: Bootstrap) -> dict:
    head = {"n": len(images), "n_reference": measure.n_reference}
    tail = {"protocol": _protocol(measure, len(images))}
    try:
        own = measure.take(images)
    except TooFewImagesError as error:
        return {"value": None, **head, "interval": None, **tail, "differences": {}, "reason": str(error)}
    ends = interval(own.value, own.influences, bootstrap)
    differences = {name: _difference(own, measure.take(other), bootstrap) for name, other in against.items()}
    return {"value": own.value, **head, "interval": ends, **tail, "differences": differences, **own.beside}


def _difference(own: Estimate, other: Estimate, bootstrap: Bootstrap) -> dict:
    found = difference(own.value, own.influences, other.value, other.influences, bootstrap)
    ends = [estimate.beside.get("infinite") for estimate in (own, other)]
    return found if None in ends else {**found, "infinite": ends[0] - ends[1]}


def _protocol(measure: Measure, n: int) -> str:
    reference = "" if measure.n_reference is None else f", n_reference={measure.n_reference}"
    return f"{measure.protocol}; n={n}{reference}"
