"""Sites: the places in a model where tokens are merged, and what is known of them before anything runs.

Supported are models made of `BasicTransformerBlock`s under a parent that knows their token grid: the U-Nets of SD 1.x,
SD 2.x, SDXL and their inpainting and ControlNet companions (`Transformer2DModel`), and PixArt.
"""

from dataclasses import dataclass

from diffusers.models.attention import BasicTransformerBlock
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from torch import nn

FAMILIES = "U-Nets with BasicTransformerBlock (SD 1.x, SD 2.x, SDXL, inpainting) and PixArt"


@dataclass(frozen=True, eq=False)
class Site:
    """One transformer block.

    Attributes:
        name: the block's name in the model.
        layer: its number among the sites, from 0.
        layer_type: "down", "mid" or "up".
        block: the block.
        parent: the module that turns a feature map into the block's tokens.
    """

    name: str
    layer: int
    layer_type: str
    block: nn.Module
    parent: nn.Module

    def sublayers(self, targets: tuple[str, ...]) -> dict[str, nn.Module]:
        """The modules that run on merged tokens, in the order they run.

        Self-attention that reads the text (`only_cross_attention`) has no keys to merge and is left alone.
        """
        attn1 = None if self.block.only_cross_attention else self.block.attn1
        modules = {"self": attn1, "self_kv": attn1, "cross": self.block.attn2, "ff": self.block.ff}
        return {name: module for name, module in modules.items() if name in targets and module is not None}


def find_denoiser(model) -> nn.Module:
    """The module that is called once per step: a pipeline's `unet` or `transformer`, or the module given itself."""
    if isinstance(model, nn.Module):
        return getattr(model, "_orig_mod", model)
    for name in ("unet", "transformer"):
        denoiser = getattr(model, name, None)
        if isinstance(denoiser, nn.Module):
            return getattr(denoiser, "_orig_mod", denoiser)
    raise ValueError(f"model must be a diffusers pipeline, U-Net or transformer, got {type(model).__name__}")


def find_sites(denoiser: nn.Module) -> list[Site]:
    """The sites of a denoiser in the order they run; empty where there is none."""
    modules = dict(denoiser.named_modules())
    sites = []
    for name, block in sorted(modules.items(), key=lambda item: _running_order(item[0])):
        if not isinstance(block, BasicTransformerBlock):
            continue
        parent = modules.get(name.rpartition(".transformer_blocks.")[0])
        if isinstance(parent, PixArtTransformer2DModel) or (
            isinstance(parent, Transformer2DModel) and parent.is_input_continuous
        ):
            sites.append(Site(name, len(sites), _layer_type(name), block, parent))
    return sites


def patch_size(module: nn.Module) -> int:
    """Side in latent pixels of one token of a module whose input is a feature map."""
    return module.config.patch_size if isinstance(module, PixArtTransformer2DModel) else 1


def _layer_type(name: str) -> str:
    return {"mid_block": "mid", "up_blocks": "up"}.get(name.partition(".")[0], "down")


def _running_order(name: str) -> tuple:
    """Down before mid before up; numbers by value. `named_modules` lists a U-Net's mid block last."""
    rank = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}.get(name.partition(".")[0], 0)
    return rank, [int(part) if part.isdigit() else -1 for part in name.split(".")]
