"""The metric profiles, and the function that scores a run's images: value, interval, and paired differences."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import torch

from eval.checks import check_integer
from eval.decoding import ImageSet, ScoredImage
from eval.downloads.weights import WeightFile
from eval.errors import RunError
from eval.metrics.clip_score import VIT_B32, VIT_L14, ClipNetwork, OpenClip, TextAgreement
from eval.metrics.features import (
    CLEAN_INCEPTION,
    PYTORCH_INCEPTION,
    CleanFidNetwork,
    FeatureNetwork,
    TooFewImagesError,
)
from eval.metrics.fid import FrechetDistance
from eval.metrics.kid import KernelDistance
from eval.metrics.measures import Estimate, Measure, Metric, Reference, Setting
from eval.metrics.networks.smoke import SmokeClip, SmokeFeatures
from eval.metrics.ssim import Likeness
from eval.metrics.stats import Bootstrap, difference, interval
from eval.progress import Progress
from eval.provenance import distribution_of, package_version
from eval.reference.moments import MINIMUM_IMAGES

__all__ = [
    "ImageSet",
    "NoMetrics",
    "RealMetrics",
    "ScoredImage",
    "SmokeMetrics",
    "check_reference",
    "identities",
    "score",
]

# The columns of the shipped profiles, whose names no further metric may have.
REAL = ("fid", "fid_legacy_pytorch", "kid", "clip", "clip_vitl14", "ssim")
SMOKE = ("fid_smoke", "kid_smoke", "clip_smoke", "ssim")
RESERVED = dict.fromkeys((*REAL, *SMOKE, "s_per_im"))
_COLUMN = re.compile(r"[a-z][a-z0-9_]*")


class Metrics(Protocol):
    """A profile: metrics by the column that they have in tables. `profile` is "real", "smoke" or "none"."""

    profile: ClassVar[str]
    batch_size: int

    @property
    def columns(self) -> dict[str, Metric]: ...

    def preflight(self) -> None: ...


@dataclass(frozen=True)
class RealMetrics:
    """FID and KID on clean-fid's networks, CLIP scores on open_clip's, SSIM.

    batch_size: images per batch, at least 1. extra: further metrics by column.

    ValueError: `inception` has another sha256 than the published file, which is TorchScript and therefore code.
    """

    inception: WeightFile = CLEAN_INCEPTION
    inception_pytorch: WeightFile = PYTORCH_INCEPTION
    clip: OpenClip = VIT_B32
    clip_vitl14: OpenClip = VIT_L14
    batch_size: int = 32
    extra: Mapping[str, Metric] | None = None
    profile: ClassVar[str] = "real"

    def __post_init__(self) -> None:
        check_integer("metrics.batch_size", self.batch_size, 1)
        _check_extra(self.extra)
        if self.inception.sha256 != CLEAN_INCEPTION.sha256:
            raise ValueError(
                f"inception must be the published file (sha256 {CLEAN_INCEPTION.sha256}), got {self.inception.sha256}; "
                "a TorchScript file is code as well as weights"
            )

    @property
    def columns(self) -> dict[str, Metric]:
        """Every metric by its column."""
        clean = CleanFidNetwork("clean", self.inception)
        legacy = CleanFidNetwork("legacy_pytorch", self.inception_pytorch)
        distances = FrechetDistance(clean), FrechetDistance(legacy), KernelDistance(clean)
        texts = TextAgreement(self.clip), TextAgreement(self.clip_vitl14)
        return {**dict(zip(REAL, (*distances, *texts, Likeness()), strict=True)), **(self.extra or {})}

    def preflight(self) -> None:
        """Locate or download every weight file. RunError: which file, from where, where to put it."""
        _preflight(self)


@dataclass(frozen=True)
class SmokeMetrics:
    """The same measures on small networks (random by default), under names ending in _smoke."""

    features: FeatureNetwork = field(default_factory=SmokeFeatures)
    clip: ClipNetwork = field(default_factory=SmokeClip)
    batch_size: int = 64
    extra: Mapping[str, Metric] | None = None
    profile: ClassVar[str] = "smoke"

    def __post_init__(self) -> None:
        check_integer("metrics.batch_size", self.batch_size, 1)
        _check_extra(self.extra)

    @property
    def columns(self) -> dict[str, Metric]:
        """Every metric by its column."""
        distances = FrechetDistance(self.features), KernelDistance(self.features)
        return {
            **dict(zip(SMOKE, (*distances, TextAgreement(self.clip), Likeness()), strict=True)),
            **(self.extra or {}),
        }

    def preflight(self) -> None:
        """As RealMetrics. The random networks need no file; the trained ones ship with the package."""
        _preflight(self)


@dataclass(frozen=True)
class NoMetrics:
    """Measures nothing."""

    profile: ClassVar[str] = "none"

    def preflight(self) -> None:
        """No requirements."""


def _check_extra(extra: Mapping[str, Metric] | None) -> None:
    for name, metric in (extra or {}).items():
        if not isinstance(name, str) or not _COLUMN.fullmatch(name) or name in RESERVED:
            raise ValueError(
                f"metrics.extra names columns in lower case that are none of {', '.join(RESERVED)}, got {name!r}"
            )
        if not isinstance(metric, Metric):
            raise ValueError(f"metrics.extra.{name} must be an eval.metrics.measures.Metric, got {metric!r}")
        if metric.better not in (None, "lower", "higher"):
            raise ValueError(f"better of metrics.extra.{name} must be 'lower', 'higher' or None, got {metric.better!r}")


def _preflight(metrics: Metrics) -> None:
    for metric in metrics.columns.values():
        metric.preflight()


def check_reference(reference: Reference, metrics: Metrics) -> None:
    """RunError if `reference` cannot serve the metrics, such as statistics of another network."""
    for metric in metrics.columns.values():
        metric.check_reference(reference)


def identities(metrics: Metrics | NoMetrics) -> dict[str, str]:
    """What each metric's numbers depend on besides the images, by column; of another package with its version."""
    if metrics.profile == "none":
        return {}
    # Protocols have always named networks alone, and SSIM has none.
    networks = {name: metric for name, metric in metrics.columns.items() if not isinstance(metric, Likeness)}
    return {name: f"{metric.identity}{_version(metric)}" for name, metric in networks.items()}


def _version(metric: Metric) -> str:
    package = type(metric).__module__.partition(".")[0]
    name = None if package == "eval" else distribution_of(package)
    return "" if name is None else f"; {name} {package_version(name)['version']}"


def score(
    images: ImageSet,
    reference: Reference | None,
    metrics: Metrics | NoMetrics,
    *,
    cache: Path,
    device: str | torch.device = "cpu",
    bootstrap: Bootstrap | None = None,
    against: Mapping[str, ImageSet] | None = None,
    progress: Progress | None = None,
) -> dict[str, dict]:
    """Every metric of the profile for `images`, as the entries of a record (results/README.md).

    By name: value, n, n_reference, interval, protocol, and differences by the names of `against`.

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
    _compute_arrays(list(measures.values()), images, against, setting)
    found = {name: _entry(measure, images, against, setting.bootstrap) for name, measure in measures.items()}
    ways = directions(metrics)
    return {name: {**entry, "better": ways[name]} if ways.get(name) else entry for name, entry in found.items()}


def directions(metrics: Metrics | NoMetrics) -> dict[str, str | None]:
    """Which values of the further metrics are better, by column: "lower", "higher", or None where neither is.

    Those of the shipped columns are known without a record (eval.tables.spec.better).
    """
    if metrics.profile == "none":
        return {}
    return {name: metric.better for name, metric in metrics.columns.items() if name not in RESERVED}


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
    metrics: Metrics, reference: Reference, against: Mapping[str, ImageSet], setting: Setting
) -> dict[str, Measure]:
    measures = {name: metric.measure(reference, against, setting) for name, metric in metrics.columns.items()}
    return {name: measure for name, measure in measures.items() if measure is not None}


def _compute_arrays(
    measures: Sequence[Measure],
    images: ImageSet,
    against: Mapping[str, ImageSet],
    setting: Setting,
) -> None:
    """Fill the cache with the per-image arrays of all measures, decoding each image once."""
    setting.arrays([measure.task(each) for measure in measures for each in (images, *against.values())])
    if len(images) >= MINIMUM_IMAGES:  # no distance of fewer is taken
        setting.arrays([task for measure in measures for task in measure.reference_tasks()])


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
