"""Feature vectors of pictures: clean-fid's own resize and networks, on weight files that we locate and check ourselves.

`clean`: Pillow bicubic to 299 x 299 on float, Inception as TorchScript. `legacy_pytorch`: PyTorch bilinear without
antialiasing, pytorch-fid's Inception (Parmar et al. 2022, arXiv 2104.11222). Non-square pictures are squashed to 299 x
299 by both, as clean-fid does.
"""

import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from tqdm import tqdm

from eval.feature_cache import cached_array
from eval.networks.weights import WeightFile
from eval.pictures import Picture, read_rgb

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

Prepare = Callable[[Image.Image], torch.Tensor]
Embed = Callable[[torch.Tensor], torch.Tensor]


class FeatureNetwork(Protocol):
    """What turns pictures into vectors. A frozen description; nothing is loaded until `load`."""

    @property
    def identity(self) -> str:
        """Everything the features depend on beside the pictures: implementation, weights' hash, resize."""
        ...

    def preflight(self) -> None:
        """RunError when the weights cannot be had."""
        ...

    def preparer(self) -> Prepare:
        """A function from an RGB picture to the network's input [3, H, W]."""
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
        """Locate (or fetch) the weights. RunError when they cannot be had."""
        self.weights.locate()

    def preparer(self) -> Prepare:
        """clean-fid's resize to [3, 299, 299], float32 in [0, 255]."""
        # build_resizer silences every warning of the process; the caller's filters come back after it.
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
        """clean-fid's wrapper, whose constructor takes a folder and may download into it, on a file that we give."""

        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            # TorchScript is code as well as weights, but the published file exists in no other form; its hash was
            # checked. Loading elsewhere than on the CPU is left to .to(device).
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="`torch.jit.load` is")
                self.base = torch.jit.load(path, map_location="cpu").eval()
            self.layers = self.base.layers
            self.resize_inside = False

    return Inception().eval()


def _pytorch_inception(path: Path) -> torch.nn.Module:
    """pytorch-fid's Inception up to the last pooling, from clean-fid's blocks (its builder can only download)."""
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


def extract(
    network: FeatureNetwork,
    pictures: Sequence[Picture],
    contents: str,
    *,
    cache: Path,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
) -> np.ndarray:
    """Features [n, D] float32 of `pictures`, in order; `contents` is the hash of their names and bytes.

    Cached in `cache` under the network's identity and `contents`. RunError naming a picture that does not decode.
    """

    def compute() -> np.ndarray:
        embed = network.load(device)
        with torch.inference_mode():
            parts = [embed(batch.to(device)).cpu() for batch in batches(pictures, network.preparer(), batch_size)]
        return torch.cat(parts).float().numpy()

    return cached_array(cache, ("features", network.identity, contents), compute)


def batches(pictures: Sequence[Picture], prepare: Prepare, batch_size: int) -> Iterator[torch.Tensor]:
    """Prepared pictures [B, 3, H, W] in order, decoded by threads one batch ahead; a bar if stderr is a terminal."""
    groups = [pictures[start : start + batch_size] for start in range(0, len(pictures), batch_size)]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:

        def submit(group: Sequence[Picture]) -> list[Future]:
            return [pool.submit(lambda picture: prepare(read_rgb(picture)), picture) for picture in group]

        # One batch is decoded while the network works on the one before; more would only hold memory.
        ahead = submit(groups[0]) if groups else []
        with tqdm(total=len(pictures), unit="image", desc="features", disable=None, leave=False) as bar:
            for following in [*groups[1:], []]:
                current, ahead = ahead, submit(following)
                yield torch.stack([task.result() for task in current])
                bar.update(len(current))
