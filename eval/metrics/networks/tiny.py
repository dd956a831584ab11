"""The trained networks of the smoke profile: features of a small classifier, and the small CLIP of the tiny model.

Both were trained on 20 ImageNet classes at 64 x 64 only, so their numbers are named `fid_smoke`, `kid_smoke` and
`clip_smoke`, never FID, KID or CLIP score. Training data: eval/assets/tiny/README.md.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from eval.assets import ASSETS, RESTORE, intact_safetensors
from eval.downloads.digests import file_sha256
from eval.errors import RunError, first_line
from eval.metrics.clip_score import EmbedTexts
from eval.metrics.features import Embed
from eval.metrics.metric_pass import Prepare
from eval.metrics.networks.smoke import prepare
from eval.silence import silent_loading

SHIPPED = ASSETS / "tiny"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class _Shipped:
    """Base of the two. folder: its config and weights; None for the shipped ones in eval/assets/tiny/."""

    folder: str | None = None

    _name: ClassVar[str]
    _what: ClassVar[str]
    _no: ClassVar[str]  # the metric that its number must not be taken for

    @cached_property
    def sha256(self) -> str:
        """sha256 (hex) of the weights file. RunError if it is missing or damaged."""
        return file_sha256(self._weights())

    @property
    def identity(self) -> str:
        """The network and the hash of its file."""
        return f"{self._what}, {_WEIGHTS} sha256 {self.sha256[:12]}, no {self._no}"

    def preflight(self) -> None:
        """RunError if the weights are missing or damaged."""
        self._weights()

    def preparer(self) -> Prepare:
        """Bicubic to [3, 64, 64] in [-1, 1]; images of that size are not resized."""
        return prepare

    @property
    def _folder(self) -> Path:
        return SHIPPED / self._name if self.folder is None else Path(self.folder).expanduser()

    def _weights(self) -> Path:
        return intact_safetensors(self._folder / _WEIGHTS)


class TinyFeatures(_Shipped):
    """The pooled features of a `ResNetForImageClassification`."""

    _name, _what, _no = "classifier", "pooled features of the tiny model's classifier", "FID"

    def load(self, device: str | torch.device) -> Embed:
        """The network on `device` in float32, from [B, 3, 64, 64] to [B, D]."""
        from transformers import ResNetForImageClassification

        model = _load(ResNetForImageClassification, self._folder).to(device)
        return lambda batch: model.resnet(batch).pooler_output.flatten(1)


@dataclass(frozen=True)
class TinyClip(_Shipped):
    """A small `CLIPModel`. tokenizer: the folder of its tokenizer; None for the shipped one."""

    tokenizer: str | None = None

    _name, _what, _no = "clip", "both towers of the tiny model's CLIP", "CLIP"

    def preflight(self) -> None:
        """RunError if the weights or the tokenizer are missing or damaged."""
        super().preflight()
        self._load_tokenizer()

    def load(self, device: str | torch.device) -> tuple[Embed, EmbedTexts]:
        """Both towers on `device` in float32."""
        from transformers import CLIPModel

        model, tokenizer = _load(CLIPModel, self._folder).to(device), self._load_tokenizer()
        length = model.config.text_config.max_position_embeddings

        def embed(batch: torch.Tensor) -> torch.Tensor:
            return model.visual_projection(model.vision_model(pixel_values=batch).pooler_output)

        def embed_texts(texts: list[str]) -> torch.Tensor:
            padded = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            return model.text_projection(model.text_model(input_ids=padded.input_ids.to(device)).pooler_output)

        return embed, embed_texts

    def _load_tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        own = self.tokenizer
        folder = SHIPPED / "pipeline" / "tokenizer" if own is None else Path(own).expanduser()
        try:
            return CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise RunError(
                f"tokenizer {folder} cannot be loaded ({first_line(error).rstrip('.')}); {RESTORE}"
            ) from error


def _load(kind: type, folder: Path) -> torch.nn.Module:
    """The model in `folder` in float32, evaluation mode. RunError if config and weights do not match."""
    intact_safetensors(folder / _WEIGHTS)
    options = {"dtype": torch.float32, "use_safetensors": True, "local_files_only": True}
    try:
        # Initial weights come from the global generator, whose state must not change.
        with torch.random.fork_rng(devices=[]), silent_loading():
            model, loaded = kind.from_pretrained(str(folder), output_loading_info=True, **options)
    except (OSError, ValueError, RuntimeError) as error:
        raise RunError(f"network {folder} cannot be loaded ({first_line(error).rstrip('.')}); {RESTORE}") from error
    if wrong := sorted({*loaded["missing_keys"], *loaded["unexpected_keys"]}):
        raise RunError(f"network {folder}: {len(wrong)} weights do not fit its config (first: {wrong[0]}); {RESTORE}")
    return model.eval()
