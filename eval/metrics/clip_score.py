"""CLIP score: 100 times the cosine similarity of an image's and its prompt's embeddings, one number per image.

Computed with open_clip, without clamping, on the complete prompt. This is MLPerf's convention
(its text-to-image `accuracy_coco.py`), not the 2.5 max(cos, 0) of the CLIPScore paper (Hessel et al. 2021, arXiv
2104.08718). OpenAI's weights were trained with QuickGELU, so its architectures are used in their `-quickgelu` form.
Without it the score would silently differ.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from eval.checks import packaged_file
from eval.decoding import ImageSet
from eval.downloads.weights import HubFile
from eval.errors import RunError
from eval.metrics.features import Embed
from eval.metrics.measures import MeanOfImages, Measure, Metric, Reference, Setting
from eval.metrics.metric_pass import Prepare, Task, compute
from eval.silence import silent_building

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)

EmbedTexts = Callable[[list[str]], torch.Tensor]


class ClipNetwork(Protocol):
    """A pair of towers. As eval.metrics.features.FeatureNetwork, except that `load` returns both."""

    @property
    def identity(self) -> str: ...

    def preflight(self) -> None: ...

    def preparer(self) -> Prepare: ...

    def load(self, device: str | torch.device) -> tuple[Embed, EmbedTexts]:
        """Functions from images [B, 3, H, W] and from B texts to embeddings [B, D] of any norm."""
        ...


@dataclass(frozen=True)
class _Transform:
    """open_clip's evaluation transform to `size` pixels. Equal for networks that share preprocessing."""

    size: int

    def __call__(self, image: Image.Image) -> torch.Tensor:
        return self._transform(image)

    @cached_property
    def _transform(self) -> Prepare:
        import open_clip

        return open_clip.image_transform(self.size, is_train=False, mean=_MEAN, std=_STD)


DEFAULT = "ViT-B-32-quickgelu"


@dataclass(frozen=True)
class OpenClip:
    """A CLIP model of open_clip: `architecture` is one of its names, `weights` a safetensors file for it."""

    architecture: str
    weights: HubFile

    def __post_init__(self) -> None:
        if not packaged_file("open_clip", f"model_configs/{self.architecture}.json").is_file():
            import open_clip  # a package may have added architectures of its own

            if open_clip.get_model_config(self.architecture) is None:
                raise ValueError(f"architecture must be one of open_clip's names, got {self.architecture!r}")
        if not self.architecture.endswith("-quickgelu"):
            raise ValueError(
                f"architecture must be one of OpenAI's CLIP, such as {DEFAULT}, got {self.architecture!r}; others use "
                "another preprocessing or activation, which would silently change the score"
            )

    @property
    def identity(self) -> str:
        """Package version, architecture and the file's hash. RunError: the file is damaged."""
        return f"open_clip {version('open_clip_torch')} {self.architecture}, sha256 {self.weights.digest[:12]}"

    def preflight(self) -> None:
        """Locate or download the weights. RunError if they are not available."""
        self.weights.locate()

    def preparer(self) -> Prepare:
        """open_clip's evaluation transform: bicubic on the shorter side, centre crop, OpenAI's mean and deviation."""
        import open_clip

        return _Transform(open_clip.get_model_config(self.architecture)["vision_cfg"]["image_size"])

    def load(self, device: str | torch.device) -> tuple[Embed, EmbedTexts]:
        """Both towers in float32. RunError if the file does not match the architecture."""
        import open_clip
        from safetensors import SafetensorError

        path = self.weights.locate()
        # The constructor uses the global generator for initial weights; its state must not change.
        with torch.random.fork_rng(devices=[]), silent_building():
            model = open_clip.create_model(self.architecture, load_weights=False)
        try:
            open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
        except (RuntimeError, KeyError, SafetensorError) as error:
            first = str(error).splitlines()[0]
            raise RunError(f"weights {path} are not those of {self.architecture} ({first})") from error
        model = model.eval().to(device)
        with silent_building():
            tokenizer = open_clip.get_tokenizer(self.architecture)
        return model.encode_image, lambda texts: model.encode_text(tokenizer(texts).to(device))


VIT_B32 = OpenClip(
    DEFAULT,
    HubFile(
        "timm/vit_base_patch32_clip_224.openai",
        "open_clip_model.safetensors",
        revision="a6f597a30f7b82c51704746581f9a4e41421e878",
    ),
)
VIT_L14 = OpenClip(
    "ViT-L-14-quickgelu",
    HubFile(
        "timm/vit_large_patch14_clip_224.openai",
        "open_clip_model.safetensors",
        revision="18d0535469bb561bf468d76c1d73aa35156c922b",
    ),
)


@dataclass(frozen=True)
class TextAgreement(Metric):
    """Mean over images of 100 cos(image, prompt)."""

    network: ClipNetwork
    better = "higher"

    @property
    def identity(self) -> str:
        """The network's."""
        return self.network.identity

    def preflight(self) -> None:
        """The network's weights."""
        self.network.preflight()

    def measure(self, reference: Reference, against: Mapping[str, ImageSet], setting: Setting) -> Measure:
        """Needs images and prompts alone."""
        protocol = f"100 x cosine, mean, whole prompt as text; {self.identity}"
        return MeanOfImages(protocol, lambda images: clip_task(self.network, images), setting)


def clip_task(network: ClipNetwork, images: ImageSet) -> Task:
    """100 cos(image, prompt) of every image [n] float64."""

    def work(
        towers: tuple[Embed, EmbedTexts], device: str | torch.device, start: int, batch: list[torch.Tensor]
    ) -> torch.Tensor:
        embed, embed_texts = towers
        texts = [image.prompt for image in images.images[start : start + len(batch)]]
        return (100 * torch.cosine_similarity(embed(torch.stack(batch).to(device)), embed_texts(texts))).cpu().double()

    identity = network.identity
    return Task(f"CLIP score, {identity}", ("clip", identity, images.hash), network, (images.images,), work)


def clip_scores(
    network: ClipNetwork,
    images: ImageSet,
    *,
    cache: Path,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
) -> np.ndarray:
    """The array of `clip_task`, cached under the network's identity and the images' hash."""
    task = clip_task(network, images)
    return compute([task], cache=cache, device=device, batch_size=batch_size)[task.key]
