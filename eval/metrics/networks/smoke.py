"""Small fixed random networks for the smoke profile. They exercise the FID and CLIP score code.

Their weights come from a local generator, so nothing is downloaded and every machine has the same weights. They are
untrained, so their numbers measure no quality and are named `fid_smoke` and `clip_smoke`, never FID or CLIP. Trained
networks replace them by implementing the same four members (`FeatureNetwork` of eval.metrics.features, `ClipNetwork`
of eval.metrics.clip_score).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from eval.metrics.clip_score import EmbedTexts
from eval.metrics.features import Embed
from eval.metrics.metric_pass import Prepare

_SIDE = 64
_CHANNELS = (3, 16, 32, 64)
_TEXT_BINS = 1024


@dataclass(frozen=True)
class SmokeFeatures:
    """Three random strided convolutions and mean pooling: 64 features of an image at 64 x 64."""

    seed: int = 0

    @property
    def identity(self) -> str:
        """States that the network is random, and its seed."""
        return f"random convolutions of eval.metrics.networks.smoke (64 features, seed {self.seed}), no FID"

    def preflight(self) -> None:
        """No requirements."""

    def preparer(self) -> Prepare:
        """Bicubic to [3, 64, 64], in [-1, 1]."""
        return prepare

    def load(self, device: str | torch.device) -> Embed:
        """The network on `device`."""
        kernels = [kernel.to(device) for kernel in _kernels(torch.Generator().manual_seed(self.seed))]
        return lambda batch: _tower(batch, kernels)


@dataclass(frozen=True)
class SmokeClip:
    """A random image tower and a text tower on hashed letter triples, 32 features each."""

    seed: int = 1

    @property
    def identity(self) -> str:
        """States that the network is random, and its seed."""
        return f"random towers of eval.metrics.networks.smoke (32 features, seed {self.seed}), no CLIP"

    def preflight(self) -> None:
        """No requirements."""

    def preparer(self) -> Prepare:
        """Bicubic to [3, 64, 64], in [-1, 1]."""
        return prepare

    def load(self, device: str | torch.device) -> tuple[Embed, EmbedTexts]:
        """Both towers on `device`."""
        generator = torch.Generator().manual_seed(self.seed)
        kernels = [kernel.to(device) for kernel in _kernels(generator)]
        head = torch.randn(_CHANNELS[-1], 32, generator=generator).to(device)
        table = torch.randn(_TEXT_BINS, 32, generator=generator).to(device)
        return lambda batch: _tower(batch, kernels) @ head, lambda texts: _counts(texts).to(device) @ table


def prepare(image: Image.Image) -> torch.Tensor:
    """An image as [3, 64, 64] in [-1, 1], bicubic; an image of that size is not resized."""
    small = np.array(image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC))
    return torch.from_numpy(small).permute(2, 0, 1).float() / 127.5 - 1


def _kernels(generator: torch.Generator) -> list[torch.Tensor]:
    """Weights [out, in, 3, 3] scaled to keep the variance through ReLU (He et al. 2015)."""
    scaled = ((a, b, math.sqrt(2 / (9 * a))) for a, b in pairwise(_CHANNELS))
    return [torch.randn(b, a, 3, 3, generator=generator) * scale for a, b, scale in scaled]


def _tower(batch: torch.Tensor, kernels: Sequence[torch.Tensor]) -> torch.Tensor:
    x = batch  # [B, 3, 64, 64]
    for kernel in kernels:
        x = functional.relu(functional.conv2d(x, kernel, stride=2, padding=1))
    return x.mean((2, 3))  # [B, 64]


def _counts(texts: list[str]) -> torch.Tensor:
    """Counts of letter triples [B, bins]. Python's built-in hash would differ from run to run."""
    counts = torch.zeros(len(texts), _TEXT_BINS)
    for row, text in enumerate(texts):
        data = text.encode()
        for a, b, c in zip(data, data[1:], data[2:], strict=False):
            counts[row, (a * 31 * 31 + b * 31 + c) % _TEXT_BINS] += 1
    return counts
