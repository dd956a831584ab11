"""The kinds of numbers in a table. A measure returns its value for a set of images, and the influence of each class."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from eval.decoding import ImageSet
from eval.metrics.clip_score import ClipNetwork, clip_task
from eval.metrics.feature_cache import cached_array
from eval.metrics.features import FeatureNetwork, feature_task
from eval.metrics.fid import check_features, extrapolate, fid_derivatives, moments
from eval.metrics.kid import kid_derivatives
from eval.metrics.metric_pass import Task, compute
from eval.metrics.ssim import PROTOCOL as SSIM
from eval.metrics.ssim import ssim_task
from eval.metrics.stats import Bootstrap, class_influences, class_positions, mean_influences
from eval.progress import Progress
from eval.reference import ReferenceSet
from eval.reference.moments import Moments, ReferenceMoments

FORMULAS = "formulas 1"  # increment if computations from features change, so that cached numbers are not reused


@dataclass(frozen=True)
class Setting:
    """Settings of a computation: cache folder, device, images per batch, bootstrap, progress."""

    cache: Path
    device: str | torch.device
    batch_size: int
    bootstrap: Bootstrap
    progress: Progress | None = None

    def arrays(self, tasks: Sequence[Task]) -> dict[tuple[str, ...], np.ndarray]:
        """The arrays of `tasks` by key: cached, or computed together."""
        return compute(tasks, cache=self.cache, device=self.device, batch_size=self.batch_size, progress=self.progress)

    def array(self, task: Task) -> np.ndarray:
        """The array of one task."""
        return self.arrays([task])[task.key]


@dataclass(frozen=True)
class Estimate:
    """A value, the influences [k] of its classes (eval.metrics.stats), and further fields of its entry in a record."""

    value: float
    influences: np.ndarray
    beside: dict = field(default_factory=dict)


class Measure(Protocol):
    """One named number. `n_reference` is None if no real images are used."""

    n_reference: int | None

    @property
    def protocol(self) -> str: ...

    def task(self, images: ImageSet) -> Task:
        """The per-image computation that `take` needs."""
        ...

    def take(self, images: ImageSet) -> Estimate:
        """The value for `images`, with classes in ascending order."""
        ...


@dataclass(frozen=True)
class Distance:
    """Distance between the features of images and of the reference. kind: "frechet" or "kernel"."""

    kind: str
    network: FeatureNetwork
    reference: ReferenceSet | ReferenceMoments
    setting: Setting

    @property
    def n_reference(self) -> int:
        return self.reference.n

    @property
    def protocol(self) -> str:
        """Kind, network and reference."""
        how = {"frechet": "Frechet distance", "kernel": "unbiased cubic MMD"}[self.kind]
        return f"{how}, float64; {self.network.identity}; reference {self.reference.hash[:12]}"

    def task(self, images: ImageSet | ReferenceSet) -> Task:
        """Computes the features."""
        return feature_task(self.network, images.images, images.hash)

    def take(self, images: ImageSet) -> Estimate:
        """The value; for a Frechet distance also at half as many images and extrapolated to infinitely many.

        Errors as in eval.metrics.fid.check_features.
        """
        features = self.setting.array(self.task(images))
        check_features(features, "generated images")
        check_features(self._reference_features, "reference")
        value, *derivatives = self._cached("derivatives", images, lambda: self._derivatives(features))
        positions = class_positions(images.class_indices)[0]
        influences = class_influences(np.array(derivatives), positions)
        if self.kind != "frechet":
            return Estimate(value, influences)
        found = self._cached("extrapolated", images, lambda: self._extrapolated(features, positions))
        return Estimate(value, influences, _extra_fields(*found))

    def _cached(self, what: str, images: ImageSet, compute: Callable[[], np.ndarray]) -> list[float]:
        parts = (FORMULAS, self.kind, what, self.network.identity, images.hash, self.reference.hash)
        return cached_array(self.setting.cache, parts, compute).tolist()

    def _derivatives(self, features: np.ndarray) -> np.ndarray:
        """[1 + n]: the value, then its derivatives."""
        if self.kind == "frechet":
            value, derivatives = fid_derivatives(features, self._moments)
        else:
            value, derivatives = kid_derivatives(features, self._reference_features, self.setting.device)
        return np.array([value, *derivatives])

    def _extrapolated(self, features: np.ndarray, positions: np.ndarray) -> np.ndarray:
        """The fields of Extrapolated, or an empty array if there are too few images."""
        found = extrapolate(features, positions, self._moments)
        return np.array([] if found is None else [found.half, found.n_half, found.infinite])

    @cached_property
    def _reference_features(self) -> np.ndarray:
        if isinstance(self.reference, ReferenceMoments):
            self.reference.check(self.network)
            return self.reference.features
        return self.setting.array(self.task(self.reference))

    @cached_property
    def _moments(self) -> Moments:
        if isinstance(self.reference, ReferenceMoments):
            self.reference.check(self.network)
            return self.reference.moments.to(self.setting.device)
        return moments(self._reference_features, self.setting.device, "reference")


@dataclass(frozen=True)
class TextAgreement:
    """Mean over images of 100 cos(image, prompt)."""

    network: ClipNetwork
    setting: Setting
    n_reference: int | None = None

    @property
    def protocol(self) -> str:
        """Network and convention."""
        return f"100 x cosine, mean, whole prompt as text; {self.network.identity}"

    def task(self, images: ImageSet) -> Task:
        """Computes the scores."""
        return clip_task(self.network, images)

    def take(self, images: ImageSet) -> Estimate:
        """The mean."""
        return _mean(self.setting.array(self.task(images)), images)


@dataclass(frozen=True)
class Likeness:
    """Mean over images of the SSIM to the baseline image of the same key."""

    baseline: ImageSet
    setting: Setting
    n_reference: int | None = None

    @property
    def protocol(self) -> str:
        """Package and parameters."""
        return SSIM

    def task(self, images: ImageSet) -> Task:
        """Computes the similarities."""
        return ssim_task(images, self.baseline)

    def take(self, images: ImageSet) -> Estimate:
        """The mean."""
        return _mean(self.setting.array(self.task(images)), images)


def _mean(scores: np.ndarray, images: ImageSet) -> Estimate:
    return Estimate(float(scores.mean()), mean_influences(scores, class_positions(images.class_indices)[0]))


def _extra_fields(half: float | None = None, n_half: float | None = None, infinite: float | None = None) -> dict:
    return {"half": {"value": half, "n": None if n_half is None else int(n_half)}, "infinite": infinite}
