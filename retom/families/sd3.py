"""Stable Diffusion 3 and 3.5 (arXiv 2403.03206)."""

from typing import Any, ClassVar

from retom.families.base import Blocks, Family, Read, Sublayer, sides


class SD3(Family):
    """Attention over text and image tokens together; in SD 3.5 medium, a second one over image tokens alone."""

    title = "SD 3 and 3.5"
    parents = ("SD3Transformer2DModel",)
    blocks: ClassVar[Blocks] = {
        "JointTransformerBlock": {
            "self": Sublayer("attn", text="beside", mask="attention_mask"),
            "self_image": Sublayer("attn2", mask="attention_mask"),
            "ff": Sublayer("ff"),
        }
    }

    def grid(self, parent: Any, read: Read) -> tuple[int, int]:
        """That of the latents [B, C, H, W] in patches."""
        return sides(read("hidden_states"), parent.config.patch_size)
