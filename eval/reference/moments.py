"""A reference without images: mean, covariance and features of real images through one network.

One safetensors file: `mean` [d] and `covariance` [d, d] in float64, `features` [n, d]; the metadata contains n and the
sha256 of the network's weights file. Distances to it can only be computed with that network.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from safetensors import safe_open

from eval.assets import ASSETS, RESTORE, intact_safetensors
from eval.downloads.digests import file_sha256
from eval.errors import RunError

SHIPPED = ASSETS / "tiny" / "reference.safetensors"
TENSORS = ("mean", "covariance", "features")
METADATA = ("n", "classifier_sha256")
MINIMUM_IMAGES = 10  # below which a covariance says nothing


@dataclass(frozen=True)
class Moments:
    """Mean [d] and covariance [d, d] of a feature set, float64; `n` images."""

    mean: torch.Tensor
    covariance: torch.Tensor
    n: int

    def to(self, device: str | torch.device) -> "Moments":
        """The same moments on `device`."""
        return Moments(self.mean.to(device), self.covariance.to(device), self.n)


class Network(Protocol):
    """What is asked of a metric's network: the name under which its features are saved."""

    @property
    def identity(self) -> str: ...


@dataclass(frozen=True, eq=False)
class ReferenceMoments:
    """Statistics of real images. hash: of the file; network: sha256 of the weights that computed the features."""

    moments: Moments
    features: np.ndarray  # [n, d] float64
    hash: str
    network: str

    @property
    def n(self) -> int:
        """Number of images behind the statistics."""
        return self.moments.n

    def check(self, network: Network) -> None:
        """RunError if `network` did not compute these statistics."""
        own = getattr(network, "sha256", None)
        if own != self.network:
            raise RunError(
                f"the reference's statistics were computed with the classifier of sha256 {self.network[:12]}, and the "
                f"metrics use {network.identity}; use that classifier (metrics=smoke), or a reference with images"
            )


def load_moments(path: str | Path | None) -> ReferenceMoments:
    """The statistics in the file `path`; None for the shipped one. RunError: missing, damaged, or not such a file."""
    file = SHIPPED if path is None else Path(path).expanduser()
    if file.is_dir():
        raise RunError(f"{file} is a folder, not a file of statistics; for images add reference=imagenet_folder")
    intact_safetensors(file)
    with safe_open(file, framework="pt") as stored:
        metadata, names = stored.metadata() or {}, set(stored.keys())
        absent = [name for name in METADATA if name not in metadata] + [name for name in TENSORS if name not in names]
        if absent:
            raise RunError(f"{file} has no {', '.join(absent)}, so it is not a file of statistics; {RESTORE}")
        mean, covariance, features = (stored.get_tensor(name).double() for name in TENSORS)
    _check(file, metadata["n"], mean, covariance, features)
    found = Moments(mean, covariance, len(features))
    return ReferenceMoments(found, features.numpy(), file_sha256(file), metadata["classifier_sha256"])


def _check(file: Path, n: str, mean: torch.Tensor, covariance: torch.Tensor, features: torch.Tensor) -> None:
    d = features.shape[-1]
    if mean.shape != (d,) or covariance.shape != (d, d) or features.shape != (int(n), d):
        shapes = ", ".join(str(list(tensor.shape)) for tensor in (mean, covariance, features))
        raise RunError(f"{file}: mean, covariance and features of {n} images do not match ({shapes}); {RESTORE}")
    if len(features) < MINIMUM_IMAGES or not all(tensor.isfinite().all() for tensor in (mean, covariance, features)):
        raise RunError(f"{file}: statistics must be finite and of {MINIMUM_IMAGES} images or more; {RESTORE}")
