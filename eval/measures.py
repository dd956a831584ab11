"""The kinds of number a table holds. A measure gives, for a set of images, its value and its bootstrap replicates."""

from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from eval.clip_score import ClipNetwork, clip_scores
from eval.feature_cache import cached_array
from eval.features import FeatureNetwork, extract
from eval.fid import Moments, check_features, fid, fid_replicates, moments
from eval.kid import kid, kid_replicates
from eval.pictures import ImageSet
from eval.reference import ReferenceSet
from eval.reference_moments import ReferenceMoments
from eval.ssim import ssim_scores
from eval.stats import STEP, Bootstrap, class_positions, class_weights, mean_replicates


@dataclass(frozen=True)
class Setting:
    """Where and how measures are taken: cache folder, device, pictures per batch, bootstrap."""

    cache: Path
    device: str | torch.device
    batch_size: int
    bootstrap: Bootstrap


class Measure(Protocol):
    """One named number. `n_reference` is None where no real pictures enter."""

    n_reference: int | None

    @property
    def protocol(self) -> str: ...

    def take(self, images: ImageSet) -> tuple[float, np.ndarray]:
        """The value and its replicates [b]."""
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
        """Kind, network, and which reference."""
        how = {"frechet": "Frechet distance", "kernel": "unbiased cubic MMD"}[self.kind]
        return f"{how}, float64; {self.network.identity}; reference {self.reference.hash[:12]}"

    def take(self, images: ImageSet) -> tuple[float, np.ndarray]:
        """Errors as eval.fid.check_features."""
        features = self._features(images)
        check_features(features, "generated images")
        check_features(self._reference_features, "reference")
        value = self._value(features)
        boot = self.setting.bootstrap
        how = f"rescaled {STEP} {boot.seed}/{boot.replicates}"
        parts = (
            self.kind,
            self.network.identity,
            images.hash,
            self.reference.hash,
            how,
        )
        return value, cached_array(self.setting.cache, parts, lambda: self._replicates(features, images))

    def _value(self, features: np.ndarray) -> float:
        if self.kind == "frechet":
            return fid(features, self._moments)
        return kid(features, self._reference_features, self.setting.device)

    def _replicates(self, features: np.ndarray, images: ImageSet) -> np.ndarray:
        positions, count = class_positions(images.class_indices)
        weights = class_weights(self.setting.bootstrap, count)
        if self.kind == "frechet":
            return fid_replicates(features, weights[:, positions], self._moments)
        return kid_replicates(features, positions, weights, self._reference_features, self.setting.device)

    def _features(self, pictures: ImageSet | ReferenceSet) -> np.ndarray:
        s = self.setting
        return extract(
            self.network, pictures.images, pictures.hash, cache=s.cache, device=s.device, batch_size=s.batch_size
        )

    @cached_property
    def _reference_features(self) -> np.ndarray:
        if isinstance(self.reference, ReferenceMoments):
            self.reference.check(self.network)
            return self.reference.features
        return self._features(self.reference)

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

    def take(self, images: ImageSet) -> tuple[float, np.ndarray]:
        """Value and replicates of the mean."""
        s = self.setting
        scores = clip_scores(self.network, images, cache=s.cache, device=s.device, batch_size=s.batch_size)
        return _mean(scores, images, s.bootstrap)


@dataclass(frozen=True)
class Likeness:
    """Mean over images of the SSIM to the unmerged image of the same key."""

    unmerged: ImageSet
    setting: Setting
    n_reference: int | None = None

    @property
    def protocol(self) -> str:
        """Package and parameters."""
        return (
            f"SSIM to the unmerged image of the same seed; torchmetrics {version('torchmetrics')}, window 11, sigma 1.5"
        )

    def take(self, images: ImageSet) -> tuple[float, np.ndarray]:
        """Value and replicates of the mean."""
        s = self.setting
        return _mean(ssim_scores(images, self.unmerged, cache=s.cache, device=s.device), images, s.bootstrap)


def _mean(scores: np.ndarray, images: ImageSet, bootstrap: Bootstrap) -> tuple[float, np.ndarray]:
    positions, count = class_positions(images.class_indices)
    return float(scores.mean()), mean_replicates(scores, positions, class_weights(bootstrap, count))
