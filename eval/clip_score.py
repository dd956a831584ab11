"""CLIP score: 100 times the cosine between a picture's embedding and its prompt's, one number per picture.

By open_clip, the mean unclamped, the whole prompt as text: MLPerf's convention (its text-to-image `accuracy_coco.py`),
and not the 2.5 max(cos, 0) of the CLIPScore paper (Hessel et al. 2021, arXiv 2104.08718). OpenAI's weights were
trained with QuickGELU, so its architectures are taken in their `-quickgelu` form; without it the score is silently
another.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from PIL import Image

from eval.errors import RunError
from eval.feature_cache import cached_array
from eval.features import Embed, Prepare, batches
from eval.networks.weights import HubFile, file_sha256
from eval.pictures import ImageSet

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)

EmbedTexts = Callable[[list[str]], torch.Tensor]


class ClipNetwork(Protocol):
    """A pair of towers. As eval.features.FeatureNetwork, except that `load` gives both."""

    @property
    def identity(self) -> str: ...

    def preflight(self) -> None: ...

    def preparer(self) -> Prepare: ...

    def load(self, device: str | torch.device) -> tuple[Embed, EmbedTexts]:
        """Functions from pictures [B, 3, H, W] and from B texts to embeddings [B, D], of any length."""
        ...


DEFAULT = "ViT-B-32-quickgelu"


@dataclass(frozen=True)
class OpenClip:
    """A CLIP of open_clip's: `architecture` is one of its names, `weights` a safetensors file of that architecture."""

    architecture: str
    weights: HubFile

    def __post_init__(self) -> None:
        import open_clip

        if open_clip.get_model_config(self.architecture) is None:
            raise ValueError(f"architecture must be one of open_clip's names, got {self.architecture!r}")
        if not self.architecture.endswith("-quickgelu"):
            raise ValueError(
                f"architecture must be one of OpenAI's CLIP, such as {DEFAULT}, got {self.architecture!r}; another is "
                "prepared for or activated otherwise, and its score would silently be another"
            )

    @property
    def identity(self) -> str:
        """Package version, architecture and the file's hash."""
        digest = file_sha256(self.weights.locate())[:12]
        return f"open_clip {version('open_clip_torch')} {self.architecture}, sha256 {digest}"

    def preflight(self) -> None:
        """Locate (or fetch) the weights. RunError when they cannot be had."""
        self.weights.locate()

    def preparer(self) -> Prepare:
        """open_clip's evaluation transform: bicubic on the shorter side, centre crop, OpenAI's mean and deviation."""
        import open_clip

        size = open_clip.get_model_config(self.architecture)["vision_cfg"]["image_size"]
        transform = open_clip.image_transform(size, is_train=False, mean=_MEAN, std=_STD)

        def prepare(image: Image.Image) -> torch.Tensor:
            return transform(image)

        return prepare

    def load(self, device: str | torch.device) -> tuple[Embed, EmbedTexts]:
        """Both towers in float32. RunError when the file is not of this architecture."""
        import open_clip
        from safetensors import SafetensorError

        path = self.weights.locate()
        # The constructor draws initial weights from the global generator, which is not ours to move.
        with torch.random.fork_rng(devices=[]):
            model = open_clip.create_model(self.architecture, load_weights=False)
        try:
            open_clip.load_checkpoint(model, str(path), strict=True, weights_only=True)
        except (RuntimeError, KeyError, SafetensorError) as error:
            first = str(error).splitlines()[0]
            raise RunError(f"weights {path} are not those of {self.architecture} ({first})") from error
        model = model.eval().to(device)
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


def clip_scores(
    network: ClipNetwork,
    images: ImageSet,
    *,
    cache: Path,
    device: str | torch.device = "cpu",
    batch_size: int = 32,
) -> np.ndarray:
    """100 cos(picture, prompt) of every image [n] float64, cached under the network's identity and the images' hash."""

    def compute() -> np.ndarray:
        embed, embed_texts = network.load(device)
        scores, done = [], 0
        with torch.inference_mode():
            for batch in batches(images.images, network.preparer(), batch_size):
                texts = [image.prompt for image in images.images[done : done + len(batch)]]
                scores.append(100 * torch.cosine_similarity(embed(batch.to(device)), embed_texts(texts)).cpu())
                done += len(batch)
        return torch.cat(scores).double().numpy()

    return cached_array(cache, ("clip", network.identity, images.hash), compute)
