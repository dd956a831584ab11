"""What a metric is: a description of one number, and the measure that takes it of a set of images.

A further metric subclasses `ImageMetric` (the mean of one number for each image), `FeatureMetric` (a distance between
features of the images and of the reference) or `Metric` itself. docs/extending.md has a complete one.
"""

import abc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image

from eval.decoding import ImageSet
from eval.errors import RunError
from eval.metrics.feature_cache import cached_array
from eval.metrics.features import FeatureNetwork, check_features, feature_task
from eval.metrics.metric_pass import Prepare, Task, compute
from eval.metrics.stats import Bootstrap, class_influences, class_positions, mean_influences
from eval.progress import Progress
from eval.reference import ReferenceSet
from eval.reference.moments import ReferenceMoments

FORMULAS = "formulas 1"  # increment if computations from features change, so that cached numbers are not reused

Reference = ReferenceSet | ReferenceMoments


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


class Measure(abc.ABC):
    """Takes one number of sets of images.

    protocol: how the number comes about, in words. n_reference: None if no real images are used.
    """

    protocol: str
    n_reference: int | None = None

    @abc.abstractmethod
    def task(self, images: ImageSet) -> Task:
        """The per-image computation that `take` needs."""

    @abc.abstractmethod
    def take(self, images: ImageSet) -> Estimate:
        """The value for `images`, with classes in ascending order."""

    def reference_tasks(self) -> list[Task]:
        """The computations on the reference that `take` needs."""
        return []


class Metric(abc.ABC):
    """One column of a table: a frozen dataclass. Nothing is loaded until it is measured.

    better: which values are, "lower" or "higher", for the bold and the arrow of tables; None: neither is.
    """

    better: ClassVar[str | None] = None

    @property
    @abc.abstractmethod
    def identity(self) -> str:
        """Everything that the number depends on besides the images. Runs are scored again when it changes."""

    def preflight(self) -> None:  # noqa: B027 - most metrics need no file
        """RunError if a weight file is not available."""

    def check_reference(self, reference: Reference) -> None:  # noqa: B027 - most metrics need no reference
        """RunError for a reference that the metric cannot use."""

    @abc.abstractmethod
    def measure(self, reference: Reference, against: Mapping[str, ImageSet], setting: Setting) -> Measure | None:
        """The measure for this reference. None: it cannot be taken, as SSIM without the baseline's images.

        against: the image sets that the images are compared with, by method; the baseline's is "none".
        """


class ImageMetric(Metric):
    """The mean over images of one number for each image."""

    def preparer(self) -> Prepare:
        """A function from an RGB image of Pillow to the tensor that `load`'s function receives; called from threads.

        By default the pixels [3, H, W], float32 in [0, 1].
        """
        return _pixels

    @abc.abstractmethod
    def load(self, device: str | torch.device) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function from a batch of prepared images [B, ...] on `device` to one number for each, [B]."""

    def measure(self, reference: Reference, against: Mapping[str, ImageSet], setting: Setting) -> Measure:
        """The mean, with intervals and differences by its classes."""
        return MeanOfImages(f"mean over images; {self.identity}", self._task, setting)

    def _task(self, images: ImageSet) -> Task:
        return Task(self.identity, ("image", self.identity, images.hash), self, (images.images,), _numbers)


@dataclass(frozen=True)
class MeanOfImages(Measure):
    """The mean of the array [n] of a task. task_of: the task for a set of images."""

    protocol: str
    task_of: Callable[[ImageSet], Task]
    setting: Setting

    def task(self, images: ImageSet) -> Task:
        """Computes one number for each image."""
        return self.task_of(images)

    def take(self, images: ImageSet) -> Estimate:
        """The mean. RunError: a number is not finite."""
        numbers = self.setting.array(self.task(images))
        bad = np.flatnonzero(~np.isfinite(numbers))
        if bad.size:
            first = images.images[bad[0]].key
            raise RunError(f"{self.protocol}: {bad.size} images have no finite number (first: {first})")
        return Estimate(float(numbers.mean()), mean_influences(numbers, class_positions(images.class_indices)[0]))


@dataclass(frozen=True)
class FeatureMetric(Metric):
    """A distance between the features of images and of the reference through `network`. distance: how it is taken."""

    network: FeatureNetwork
    distance: ClassVar[type["Distance"]]

    @property
    def identity(self) -> str:
        """The network's."""
        return self.network.identity

    def preflight(self) -> None:
        """The network's weights."""
        self.network.preflight()

    def check_reference(self, reference: Reference) -> None:
        """RunError for statistics of another network."""
        if isinstance(reference, ReferenceMoments):
            reference.check(self.network)

    def measure(self, reference: Reference, against: Mapping[str, ImageSet], setting: Setting) -> Measure:
        """Needs the reference alone."""
        return self.distance(self.network, reference, setting)


@dataclass(frozen=True)
class Distance(Measure):
    """Takes a distance between features. kind names it in the cache, `formula` in protocols."""

    network: FeatureNetwork
    reference: Reference
    setting: Setting
    kind: ClassVar[str]
    formula: ClassVar[str]

    @abc.abstractmethod
    def derivatives(self, features: np.ndarray) -> tuple[float, np.ndarray]:
        """The distance of `features` [n, d], and its derivatives [n] with respect to each image's weight, at 1."""

    def beside(self, images: ImageSet, features: np.ndarray, positions: np.ndarray) -> dict:
        """Further fields of the record's entry. positions [n]: of the images' classes."""
        return {}

    @property
    def n_reference(self) -> int:
        return self.reference.n

    @property
    def protocol(self) -> str:
        """Formula, network and reference."""
        return f"{self.formula}, float64; {self.network.identity}; reference {self.reference.hash[:12]}"

    def task(self, images: ImageSet | ReferenceSet) -> Task:
        """Computes the features."""
        return feature_task(self.network, images.images, images.hash)

    def reference_tasks(self) -> list[Task]:
        """The features of the reference, if it consists of images."""
        return [self.task(self.reference)] if isinstance(self.reference, ReferenceSet) else []

    def take(self, images: ImageSet) -> Estimate:
        """The distance and what is beside it. Errors as in eval.metrics.features.check_features."""
        features = self.setting.array(self.task(images))
        check_features(features, "generated images")
        check_features(self.reference_features, "reference")
        value, *derivatives = self.cached("derivatives", images, lambda: np.append(*self.derivatives(features)))
        positions = class_positions(images.class_indices)[0]
        influences = class_influences(np.array(derivatives), positions)
        return Estimate(value, influences, self.beside(images, features, positions))

    def cached(self, what: str, images: ImageSet, compute: Callable[[], np.ndarray]) -> list[float]:
        """Numbers that follow from the features of `images` and the reference."""
        parts = (FORMULAS, self.kind, what, self.network.identity, images.hash, self.reference.hash)
        return cached_array(self.setting.cache, parts, compute).tolist()

    @cached_property
    def reference_features(self) -> np.ndarray:
        """[m, d]."""
        if isinstance(self.reference, ReferenceMoments):
            self.reference.check(self.network)
            return self.reference.features
        return self.setting.array(self.task(self.reference))


def _numbers(
    score: Callable[[torch.Tensor], torch.Tensor], device: str | torch.device, _start: int, batch: list[torch.Tensor]
) -> torch.Tensor:
    found = score(torch.stack(batch).to(device)).cpu().double()
    if found.shape != (len(batch),):
        raise ValueError(f"a metric must return one number for each of {len(batch)} images, got {list(found.shape)}")
    return found


def _pixels(image: Image.Image) -> torch.Tensor:
    """[3, H, W]."""
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255
