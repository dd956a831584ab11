"""SSIM between images of the same key: how far a method changed each image from the baseline of the same seed.

torchmetrics, Gaussian window of 11 pixels (sigma 1.5), RGB in [0, 1], data_range 1 (torchmetrics would otherwise guess
it from the batch). Wang et al. 2004, IEEE TIP 13(4).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eval.decoding import ImageSet, ScoredImage
from eval.errors import RunError
from eval.metrics.measures import MeanOfImages, Measure, Metric, Reference, Setting
from eval.metrics.metric_pass import Prepare, Task, compute

_WINDOW = 11
_PACKAGE = f"torchmetrics {version('torchmetrics')}"
PROTOCOL = f"SSIM to the unmerged image of the same seed; {_PACKAGE}, window 11, sigma 1.5"


@dataclass(frozen=True)
class Likeness(Metric):
    """Mean over images of the SSIM to the baseline's image of the same key."""

    better = "higher"

    @property
    def identity(self) -> str:
        """Package and parameters."""
        return PROTOCOL

    def measure(self, reference: Reference, against: Mapping[str, ImageSet], setting: Setting) -> Measure | None:
        """Needs the baseline's images: without them there is no number."""
        baseline = against.get("none")
        if baseline is None:
            return None
        return MeanOfImages(self.identity, lambda images: ssim_task(images, baseline), setting)


def ssim(a: torch.Tensor, b: torch.Tensor) -> float:
    """SSIM of two images [3, H, W] float in [0, 1]. RunError if sizes differ or a side is under 11 pixels."""
    if a.shape != b.shape:
        raise RunError(f"SSIM needs images of one size, got {_size(a)} and {_size(b)}")
    if min(a.shape[-2:]) < _WINDOW:
        raise RunError(f"SSIM needs images of at least {_WINDOW} x {_WINDOW} pixels, got {_size(a)}")
    if torch.equal(a, b):
        # 1 by definition; rounding of the variances in flat areas would yield 0.99999.
        return 1.0
    from torchmetrics.functional.image import structural_similarity_index_measure  # imports transformers

    value = structural_similarity_index_measure(
        a[None], b[None], gaussian_kernel=True, sigma=1.5, kernel_size=_WINDOW, data_range=1.0
    )
    return float(value)


def ssim_task(images: ImageSet, baseline: ImageSet) -> Task:
    """SSIM of every image [n] float64 to that of the same key in `baseline`. RunError naming a key without partner."""
    by_key = {image.key: image for image in baseline.images}
    missing = [image.key for image in images.images if image.key not in by_key]
    if missing:
        raise RunError(
            f"{len(missing)} images have no baseline image (first: {missing[0]}); generate method none first"
        )
    partners = [by_key[image.key] for image in images.images]

    def work(
        _: None, device: str | torch.device, start: int, batch: list[torch.Tensor], others: list[torch.Tensor]
    ) -> torch.Tensor:
        stop = start + len(batch)
        pairs = zip(images.images[start:stop], partners[start:stop], batch, others, strict=True)
        return torch.tensor([_pair(*pair, device) for pair in pairs], dtype=torch.float64)

    key = (PROTOCOL, images.hash, baseline.hash)
    return Task(f"SSIM, {_PACKAGE}", key, _Pixels(), (images.images, partners), work)


class _Pixels:
    """The pixels of an image; SSIM needs no network."""

    def preparer(self) -> Prepare:
        return _pixels

    def load(self, device: str | torch.device) -> None:
        """Loads nothing."""


def ssim_scores(images: ImageSet, baseline: ImageSet, *, cache: Path, device: str | torch.device = "cpu") -> np.ndarray:
    """The array of `ssim_task`, cached under the hashes of both sets."""
    task = ssim_task(images, baseline)
    return compute([task], cache=cache, device=device)[task.key]


def _pair(
    image: ScoredImage, partner: ScoredImage, a: torch.Tensor, b: torch.Tensor, device: str | torch.device
) -> float:
    try:
        return ssim(_scaled(a, device), _scaled(b, device))
    except RunError as error:
        raise RunError(f"{image.path} against {partner.path}: {error}") from error


def _pixels(image: Image.Image) -> torch.Tensor:
    """[H, W, 3] uint8."""
    return torch.from_numpy(np.array(image))


def _scaled(pixels: torch.Tensor, device: str | torch.device) -> torch.Tensor:
    return pixels.to(device).permute(2, 0, 1).float() / 255


def _size(x: torch.Tensor) -> str:
    return f"{x.shape[-1]} x {x.shape[-2]}"
