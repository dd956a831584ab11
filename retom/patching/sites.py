"""Sites: the places in a model where tokens are merged.

A site is a transformer block under a parent that has its token grid:
* `BasicTransformerBlock` in the U-Nets of SD 1.x, SD 2.x, SDXL and their inpainting and ControlNet companions
  (`Transformer2DModel`), and in PixArt;
* `JointTransformerBlock` in SD 3 and SD 3.5, `FluxTransformerBlock` and `FluxSingleTransformerBlock` in Flux, where one
  attention runs over text and image tokens together: image tokens are merged, text tokens are not.
"""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ModelMixin
from diffusers.models.attention import BasicTransformerBlock, JointTransformerBlock
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_flux import (
    FluxSingleTransformerBlock,
    FluxTransformer2DModel,
    FluxTransformerBlock,
)
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor, nn

from retom.tracing import constant

FAMILIES = "U-Nets with BasicTransformerBlock (SD 1.x, SD 2.x, SDXL, inpainting), PixArt, SD 3 and 3.5, and Flux"

_FLUX_BLOCKS = (FluxTransformerBlock, FluxSingleTransformerBlock)


@dataclass(frozen=True, eq=False)
class Site:
    """One transformer block.

    Attributes:
        name: the block's name in the model.
        layer: the number of the site in the model, from 0.
        layer_type: "down", "mid" or "up".
        downsample: by which factor its grid is coarser than the model's top level, from the architecture; 1 at the top
            level and in a transformer. The factor in a call is measured (`halvings`).
        block: the block.
        parent: the module that turns latents or a feature map into the tokens of the block.
    """

    name: str
    layer: int
    layer_type: str
    downsample: int
    block: nn.Module
    parent: nn.Module

    @property
    def joint(self) -> bool:
        """Whether the attention of the block runs over text and image tokens together."""
        return not isinstance(self.block, BasicTransformerBlock)

    @property
    def text_first(self) -> bool:
        """Whether the input of the attention is one sequence, with text tokens before image tokens."""
        return isinstance(self.block, FluxSingleTransformerBlock)

    def sublayers(self, targets: tuple[str, ...]) -> dict[str, nn.Module]:
        """The modules that run on merged tokens, in the order they run.

        "self" covers both self-attentions of an SD 3.5 block with two; the second, over image tokens only, is listed as
        "self_image". They are one site with one plan, made at the first. A single block of Flux has no separate "ff":
        its attention and its feed-forward share one projection.
        """
        wanted = {*targets, *(("self_image",) if "self" in targets else ())}
        return {name: module for name, module in self._modules().items() if name in wanted and module is not None}

    def _modules(self) -> dict[str, nn.Module | None]:
        block: Any = self.block
        if self.text_first:
            return {"self": block.attn}
        if self.joint:
            return {"self": block.attn, "self_image": getattr(block, "attn2", None), "ff": block.ff}
        # Self-attention that reads the text (`only_cross_attention`) has no keys to merge.
        attn1 = None if block.only_cross_attention else block.attn1
        return {"self": attn1, "self_kv": attn1, "cross": block.attn2, "ff": block.ff}


def find_denoiser(model: object) -> nn.Module:
    """The denoiser: the `unet` or `transformer` of a pipeline, or the module itself.

    ValueError for anything else, including modules that wrap a denoiser (DataParallel, a PeftModel).
    """
    for denoiser in (model, getattr(model, "unet", None), getattr(model, "transformer", None)):
        if isinstance(denoiser, nn.Module):
            return _unwrapped(getattr(denoiser, "_orig_mod", denoiser))
    raise ValueError(f"model must be a diffusers pipeline, U-Net or transformer, got {type(model).__name__}")


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module; ValueError if it wraps a denoiser of diffusers, whose calls and levels it hides."""
    inner = None if isinstance(module, ModelMixin) else next(filter(_is_complete_model, module.modules()), None)
    if inner is not None:
        name = type(inner).__name__
        raise ValueError(f"model is a {type(module).__name__} that wraps a {name}; pass the {name} itself")
    return module


def _is_complete_model(module: nn.Module) -> bool:
    """Whether it is a model of diffusers, and not a part of a U-Net, some of which are models as well."""
    return isinstance(module, ModelMixin) and not isinstance(module, Transformer2DModel)


def find_sites(denoiser: nn.Module) -> list[Site]:
    """The sites of a denoiser, in the order they run."""
    modules, coarser = dict(denoiser.named_modules()), _downsamples(denoiser)
    sites: list[Site] = []
    for name, block in sorted(modules.items(), key=lambda item: _running_order(item[0])):
        # the list of blocks of the parent is between them: "attentions.0.transformer_blocks.3"
        parent = modules.get(".".join(name.split(".")[:-2]))
        if parent is not None and _is_site(block, parent):
            downsample = coarser.get(".".join(name.split(".")[:2]), coarser.get(name.partition(".")[0], 1))
            sites.append(Site(name, len(sites), _layer_type(name), downsample, block, parent))
    return sites


def check_targets(denoiser: nn.Module, sites: list[Site], targets: tuple[str, ...]) -> None:
    """ValueError for a target that no site of the model has, before anything runs."""
    if not sites:
        raise ValueError(f"{type(denoiser).__name__} has no site where tokens can be merged; supported are {FAMILIES}")
    offered = dict.fromkeys(name for site in sites for name in site._modules() if site.sublayers((name,)))
    offered.pop("self_image", None)
    missing = [target for target in targets if target not in offered]
    if missing:
        reason = " (its self-attention includes the text)" if sites[0].joint else ""
        raise ValueError(
            f"targets of a {type(denoiser).__name__} must be one or more of {', '.join(offered)}{reason}, "
            f"got {missing[0]!r}"
        )


def is_flux(denoiser: nn.Module) -> bool:
    """Whether the images of a call share one position table, and therefore their destinations."""
    return isinstance(denoiser, FluxTransformer2DModel)


def patch_size(module: nn.Module) -> int:
    """Side of one token in latent pixels, for a module whose input is a feature map."""
    return module.config.patch_size if isinstance(module, PixArtTransformer2DModel | SD3Transformer2DModel) else 1


def packed_grid(ids: Tensor) -> tuple[int, int]:
    """The grid (H, W) of Flux's packed tokens, from their position ids [N, 3] (or [1, N, 3]): (image, row, column).

    A graph under `torch.compile` contains the grid it was compiled for. If it is called with as many tokens in another
    grid, an assertion fails.

    Raises:
        ValueError: unless the ids are those of one image, row by row.
    """
    ids = ids[0] if ids.ndim == 3 else ids
    width = _row_length(ids)
    if torch.compiler.is_compiling():
        same = (ids[:, 1] == ids[0, 1]).sum() == width
        message = "the token grid is not the compiled one; call torch.compiler.reset() first (on a GPU, restart Python)"
        torch._assert_async(same, message)  # after a failure on a GPU, the process cannot use CUDA any more
    return ids.shape[0] // width, width


@constant
def _row_length(ids: Tensor) -> int:
    """Tokens per row, read from the ids. On a GPU this is the only wait of a generation."""
    width = int((ids[:, 1] == ids[0, 1]).sum())
    height, rest = divmod(ids.shape[0], width)
    rows, columns = ids[0, 1] + torch.arange(height).to(ids), ids[0, 2] + torch.arange(width).to(ids)
    expected = torch.stack([rows.repeat_interleave(width), columns.repeat(height)], dim=1)
    if rest or not torch.equal(ids[:, 1:3], expected) or (ids[:, 0] != ids[0, 0]).any():
        raise ValueError(
            f"img_ids must have the rows and columns of one image, row by row, got {ids.shape[0]} tokens of which "
            f"{width} are in the first row; images passed next to the latents (Flux Kontext) are not supported"
        )
    return width


def _is_site(block: nn.Module, parent: nn.Module) -> bool:
    if isinstance(block, BasicTransformerBlock):
        images = isinstance(parent, Transformer2DModel) and parent.is_input_continuous
        return images or isinstance(parent, PixArtTransformer2DModel)
    if isinstance(block, JointTransformerBlock):
        return isinstance(parent, SD3Transformer2DModel)
    return isinstance(block, _FLUX_BLOCKS) and isinstance(parent, FluxTransformer2DModel)


def _downsamples(denoiser: nn.Module) -> dict[str, int]:
    """By which factor each level of a U-Net ("down_blocks.1", "mid_block") is coarser than the top level, by name."""
    found, level = {}, 1
    for way in ("down", "up"):
        for index, block in enumerate(getattr(denoiser, f"{way}_blocks", None) or ()):
            found[f"{way}_blocks.{index}"] = level
            if _resamples(block, way):
                level = level * 2 if way == "down" else level // 2
        found.setdefault("mid_block", level)
    return found


def _resamples(block: nn.Module, way: str) -> bool:
    """Whether a block of a U-Net goes a level down or up. ControlNet-XS has other names for its samplers."""
    return any(f"{way}sampler" in name for name, part in block.named_children() if part is not None)


def halvings(top: tuple[int, int], grid: tuple[int, int]) -> int:
    """By which factor `grid` is coarser than `top`, both (H, W): 1, 2, 4, ... for halvings, each rounded up.

    For a grid that is not a halving (a level that was resized), it is the larger ratio of sides, rounded.
    """
    coarser, (height, width) = 1, top
    while (height, width) != grid and (height > grid[0] or width > grid[1]):
        coarser, height, width = 2 * coarser, (height + 1) // 2, (width + 1) // 2
    if (height, width) == grid:
        return coarser
    return max(1, round(max(top[0] / grid[0], top[1] / grid[1])))


def _layer_type(name: str) -> str:
    return {"mid_block": "mid", "up_blocks": "up"}.get(name.partition(".")[0], "down")


def _running_order(name: str) -> tuple[int, list[int]]:
    """Down before mid before up, Flux's single blocks last; numbers by value.

    `named_modules` lists a U-Net's mid block last.
    """
    ranks = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2, "single_transformer_blocks": 1}
    rank = ranks.get(name.partition(".")[0], 0)
    return rank, [int(part) if part.isdigit() else -1 for part in name.split(".")]
