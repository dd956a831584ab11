"""U-Nets of Stable Diffusion 1.x, 2.x and SDXL, their inpainting, ControlNet and video companions."""

from typing import ClassVar

from torch import Tensor, nn

from retom.families.base import Blocks, Family, Read, Sublayer, sides

BASIC_BLOCK = {
    "self": Sublayer("attn1", mask="attention_mask"),
    "self_kv": Sublayer("attn1", mask="attention_mask"),
    "cross": Sublayer("attn2"),
    "ff": Sublayer("ff"),
}


class UNet(Family):
    """`BasicTransformerBlock`s of a `Transformer2DModel`, on a feature map that is halved from level to level.

    In a video, the frames are rows of the batch. Blocks over time have other parents and are no sites.
    """

    title = "U-Nets with BasicTransformerBlock (SD 1.x, SD 2.x, SDXL, inpainting)"
    parents = ("Transformer2DModel",)
    blocks: ClassVar[Blocks] = {"BasicTransformerBlock": BASIC_BLOCK}
    parts = ("Transformer2DModel",)
    videos = ("UNetMotionModel", "UNet3DConditionModel", "I2VGenXLUNet", "SparseControlNetModel")

    def is_site(self, block: nn.Module, parent: nn.Module) -> bool:
        """Blocks of a transformer over images. One over discrete tokens has no feature map."""
        return super().is_site(block, parent) and bool(parent.is_input_continuous)

    def sublayers(self, block: nn.Module) -> dict[str, Sublayer]:
        """Self-attention that reads the text (`only_cross_attention`) has no keys to merge."""
        found = super().sublayers(block)
        reads_text = block.only_cross_attention
        return {target: part for target, part in found.items() if not (reads_text and part.module == "attn1")}

    def rank(self, name: str) -> int:
        """Down before mid before up. `named_modules` lists the mid block last."""
        return {"mid_block": 1, "up_blocks": 2}.get(name.partition(".")[0], 0)

    def layer_type(self, name: str) -> str:
        """By the half of the U-Net that the block is in."""
        return {"mid_block": "mid", "up_blocks": "up"}.get(name.partition(".")[0], "down")

    def downsamples(self, denoiser: nn.Module) -> dict[str, int]:
        """Of each level ("down_blocks.1", "mid_block"), from its samplers."""
        found, level = {}, 1
        for way in ("down", "up"):
            for index, block in enumerate(getattr(denoiser, f"{way}_blocks", None) or ()):
                found[f"{way}_blocks.{index}"] = level
                if _resamples(block, way):
                    level = level * 2 if way == "down" else level // 2
            found.setdefault("mid_block", level)
        return found

    def grid(self, parent: nn.Module, read: Read) -> tuple[int, int]:
        """That of the feature map [B, C, H, W]."""
        return sides(read("hidden_states"))

    def top(self, latents: Tensor) -> tuple[int, int]:
        """That of the latents [B, C, H, W] or [B, C, F, H, W]."""
        return sides(latents)


def _resamples(block: nn.Module, way: str) -> bool:
    """Whether a block goes a level down or up. ControlNet-XS has other names for its samplers."""
    return any(f"{way}sampler" in name for name, part in block.named_children() if part is not None)
