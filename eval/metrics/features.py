"""Feature vectors of images: clean-fid's resize and networks, on weight files located and checked by this package.

`clean`: Pillow bicubic to 299 x 299 on float, Inception as TorchScript. `legacy_pytorch`: PyTorch bilinear without
antialiasing, pytorch-fid's Inception (Parmar et al. 2022, arXiv 2104.11222). Non-square images are squashed to 299 x
299 by both, as clean-fid does.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from eval.decoding import EncodedImage
from eval.downloads.weights import WeightFile
from eval.errors import RunError
from eval.metrics.metric_pass import Prepare, Task, compute
from eval.reference.moments import MINIMUM_IMAGES

CLEAN_INCEPTION = WeightFile(
    "inception-2015-12-05.pt",
    "https://nvlabs-fi-cdn.nvidia.com/stylegan2-ada-pytorch/pretrained/metrics/inception-2015-12-05.pt",
    "f58cb9b6ec323ed63459aa4fb441fe750cfe39fafad6da5cb504a16f19e958f4",
)
PYTORCH_INCEPTION = WeightFile(
    "pt_inception-2015-12-05-6726825d.pth",
    "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/pt_inception-2015-12-05-6726825d.pth",
    "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
)


Embed = Callable[[torch.Tensor], torch.Tensor]


class TooFewImagesError(RunError):
    """A distance between distributions was requested for fewer than MINIMUM_IMAGES images."""


class FeatureNetwork(Protocol):
    """Turns images into vectors. A frozen description; nothing is loaded until `load`."""

    @property
    def identity(self) -> str:
        """Everything the features depend on besides the images: implementation, weights' hash, resize."""
        ...

    def preflight(self) -> None:
        """RunError if the weights are not available."""
        ...

    def preparer(self) -> Prepare:
        """A function from an RGB image to the network's input [3, H, W]."""
        ...

    def load(self, device: str | torch.device) -> Embed:
        """A function from a batch [B, 3, H, W] to features [B, D]."""
        ...


@dataclass(frozen=True)
class CleanFidNetwork:
    """clean-fid's feature network. mode: "clean" or "legacy_pytorch" (ValueError otherwise)."""

    mode: str
    weights: WeightFile

    def __post_init__(self) -> None:
        if self.mode not in ("clean", "legacy_pytorch"):
            raise ValueError(f"mode must be clean or legacy_pytorch, got {self.mode!r}")

    @property
    def identity(self) -> str:
        """Package version, mode, file and its hash."""
        return f"clean-fid {version('clean-fid')} {self.mode}, {self.weights.name} sha256 {self.weights.sha256[:12]}"

    def preflight(self) -> None:
        """Locate or download the weights. RunError if they are not available."""
        self.weights.locate()

    def preparer(self) -> Prepare:
        """clean-fid's resize to [3, 299, 299], float32 in [0, 255]."""
        # build_resizer silences every warning of the process; the caller's filters are restored after it.
        with warnings.catch_warnings():
            from cleanfid.resize import build_resizer

            resize = build_resizer(self.mode)

        def prepare(image: Image.Image) -> torch.Tensor:
            return torch.from_numpy(np.ascontiguousarray(resize(np.array(image)).transpose(2, 0, 1)))

        return prepare

    def load(self, device: str | torch.device) -> Embed:
        """The network on `device`, from pixels in [0, 255] to [B, 2048]."""
        path = self.weights.locate()
        module = _torchscript_inception(path) if self.mode == "clean" else _pytorch_inception(path)
        module = module.to(device)
        if self.mode == "clean":
            return module
        return lambda x: module(2 * (x / 255) - 1).flatten(1)


def _torchscript_inception(path: Path) -> torch.nn.Module:
    from cleanfid.inception_torchscript import InceptionV3W

    class Inception(InceptionV3W):
        """clean-fid's wrapper, whose constructor takes a folder and may download into it, applied to a given file."""

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            # TorchScript is code as well as weights, but the file is published in no other form. Its hash was
            # checked. Moving it to another device than the CPU is left to .to(device).
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="`torch.jit.load` is")
                self.base = torch.jit.load(path, map_location="cpu").eval()
            self.layers = self.base.layers
            self.resize_inside = False

    return Inception().eval()


def _pytorch_inception(path: Path) -> torch.nn.Module:
    """pytorch-fid's Inception up to the last pooling, built from clean-fid's blocks (its builder always downloads)."""
    from cleanfid import inception_pytorch as blocks
    from torchvision.models import inception_v3

    with torch.device("meta"):
        net = inception_v3(num_classes=1008, aux_logits=False, weights=None, init_weights=False)
        net.Mixed_5b = blocks.FIDInceptionA(192, pool_features=32)
        net.Mixed_5c = blocks.FIDInceptionA(256, pool_features=64)
        net.Mixed_5d = blocks.FIDInceptionA(288, pool_features=64)
        for name, channels in (("Mixed_6b", 128), ("Mixed_6c", 160), ("Mixed_6d", 160), ("Mixed_6e", 192)):
            setattr(net, name, blocks.FIDInceptionC(768, channels_7x7=channels))
        net.Mixed_7b = blocks.FIDInceptionE_1(1280)
        net.Mixed_7c = blocks.FIDInceptionE_2(2048)
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True), assign=True)
    children = dict(net.named_children())
    order = [name for name in children if name not in ("avgpool", "dropout", "fc", "AuxLogits")]
    return torch.nn.Sequential(*(children[name] for name in order), torch.nn.AdaptiveAvgPool2d(1)).eval()


def check_features(features: np.ndarray, what: str) -> None:
    """RunError if `features` [n, d] has NaN or infinite values, TooFewImagesError if n < MINIMUM_IMAGES."""
    if len(features) < MINIMUM_IMAGES:
        raise TooFewImagesError(f"{what}: {len(features)} images, at least {MINIMUM_IMAGES} are needed")
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        raise RunError(f"{what}: features of {bad.size} images are not finite (first: number {bad[0]})")


def feature_task(network: FeatureNetwork, images: Sequence[EncodedImage], contents: str) -> Task:
    """Features [n, D] float32 of `images`, in order; `contents` is the hash of their names and bytes."""
    identity = network.identity
    return Task(f"features, {identity}", ("features", identity, contents), network, (images,), _embed)


def _embed(embed: Embed, device: str | torch.device, _start: int, batch: list[torch.Tensor]) -> torch.Tensor:
    return embed(torch.stack(batch).to(device)).cpu().float()


def extract(
    network: FeatureNetwork,
    images: Sequence[EncodedImage],
    contents: str,
    *,
    cache: Path,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
) -> np.ndarray:
    """The array of `feature_task`, cached in `cache`. RunError naming an image that does not decode."""
    task = feature_task(network, images, contents)
    return compute([task], cache=cache, device=device, batch_size=batch_size)[task.key]
