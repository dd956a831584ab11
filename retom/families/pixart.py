"""PixArt-alpha and PixArt-Sigma (arXiv 2310.00426, 2403.04692)."""

from typing import Any, ClassVar

from retom.families.base import Blocks, Family, Read, sides
from retom.families.unet import BASIC_BLOCK


class PixArt(Family):
    """The blocks of a U-Net's transformers, in a row over patches of the latents."""

    title = "PixArt"
    parents = ("PixArtTransformer2DModel",)
    blocks: ClassVar[Blocks] = {"BasicTransformerBlock": BASIC_BLOCK}

    def grid(self, parent: Any, read: Read) -> tuple[int, int]:
        """That of the latents [B, C, H, W] in patches."""
        return sides(read("hidden_states"), parent.config.patch_size)
