"""Sites: the places in a model where tokens are merged, and what is known of them before anything runs.

A site is a transformer block under a parent that knows its token grid:
* `BasicTransformerBlock` in the U-Nets of SD 1.x, SD 2.x, SDXL and their inpainting and ControlNet companions
  (`Transformer2DModel`), and in PixArt;
* `JointTransformerBlock` in SD 3 and SD 3.5, `FluxTransformerBlock` and `FluxSingleTransformerBlock` in Flux, where one
  attention runs over text and image tokens together: the image tokens are merged, the text tokens are left alone.
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
        layer: its number among the sites, from 0.
        layer_type: "down", "mid" or "up".
        downsample: how many times coarser its grid is than the model's top level, 1 there and in a transformer; as the
            model is built. What a grid is in a call is measured (`halvings`).
        block: the block.
        parent: the module that turns latents or a feature map into the block's tokens.
    """

    name: str
    layer: int
    layer_type: str
    downsample: int
    block: nn.Module
    parent: nn.Module

    @property
    def joint(self) -> bool:
        """Whether the block's attention runs over text and image tokens together."""
        return not isinstance(self.block, BasicTransformerBlock)

    @property
    def text_first(self) -> bool:
        """Whether the attention is given the text's tokens before the image's in one sequence."""
        return isinstance(self.block, FluxSingleTransformerBlock)

    def sublayers(self, targets: tuple[str, ...]) -> dict[str, nn.Module]:
        """The modules that run on merged tokens, in the order they run.

        "self" covers both self-attentions of an SD 3.5 block with two; the second, over the image alone, is listed as
        "self_image". They are one site with one plan, made at the first. A single block of Flux has no "ff" of its own:
        one projection serves its attention and its feed-forward.
        """
        wanted = {*targets, *(("self_image",) if "self" in targets else ())}
        return {name: module for name, module in self._modules().items() if name in wanted and module is not None}

    def _modules(self) -> dict[str, nn.Module | None]:
        block: Any = self.block
        if self.text_first:
            return {"self": block.attn}
        if self.joint:
            return {"self": block.attn, "self_image": getattr(block, "attn2", None), "ff": block.ff}
        # Self-attention that reads the text (`only_cross_attention`) has no keys to merge and is left alone.
        attn1 = None if block.only_cross_attention else block.attn1
        return {"self": attn1, "self_kv": attn1, "cross": block.attn2, "ff": block.ff}


def find_denoiser(model: object) -> nn.Module:
    """The module that is called once per step: a pipeline's `unet` or `transformer`, or the module given itself.

    ValueError for anything else, also for a module around the denoiser (DataParallel, a PeftModel).
    """
    for denoiser in (model, getattr(model, "unet", None), getattr(model, "transformer", None)):
        if isinstance(denoiser, nn.Module):
            return _unwrapped(getattr(denoiser, "_orig_mod", denoiser))
    raise ValueError(f"model must be a diffusers pipeline, U-Net or transformer, got {type(model).__name__}")


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module; ValueError where it only holds a denoiser of diffusers, whose calls and levels it hides."""
    inner = None if isinstance(module, ModelMixin) else next(filter(_is_whole, module.modules()), None)
    if inner is not None:
        name = type(inner).__name__
        raise ValueError(f"model is a {type(module).__name__} around a {name}; give the {name} itself")
    return module


def _is_whole(module: nn.Module) -> bool:
    """Whether it is a model of diffusers and not a U-Net's part that is one as well."""
    return isinstance(module, ModelMixin) and not isinstance(module, Transformer2DModel)


def find_sites(denoiser: nn.Module) -> list[Site]:
    """The sites of a denoiser in the order they run; empty where there is none."""
    modules, coarser = dict(denoiser.named_modules()), _downsamples(denoiser)
    sites: list[Site] = []
    for name, block in sorted(modules.items(), key=lambda item: _running_order(item[0])):
        # the parent's list of blocks stands between them: "attentions.0.transformer_blocks.3"
        parent = modules.get(".".join(name.split(".")[:-2]))
        if parent is not None and _is_site(block, parent):
            downsample = coarser.get(".".join(name.split(".")[:2]), coarser.get(name.partition(".")[0], 1))
            sites.append(Site(name, len(sites), _layer_type(name), downsample, block, parent))
    return sites


def check_targets(denoiser: nn.Module, sites: list[Site], targets: tuple[str, ...]) -> None:
    """ValueError for a target that no site of the model has, so that a run says so before it begins."""
    if not sites:
        raise ValueError(f"{type(denoiser).__name__} has no site where tokens can be merged; supported are {FAMILIES}")
    offered = dict.fromkeys(name for site in sites for name in site._modules() if site.sublayers((name,)))
    offered.pop("self_image", None)
    missing = [target for target in targets if target not in offered]
    if missing:
        reason = ", whose text runs in the self-attention" if sites[0].joint else ""
        raise ValueError(
            f"targets of a {type(denoiser).__name__}{reason} must be a choice of {', '.join(offered)}, "
            f"got {missing[0]!r}"
        )


def is_flux(denoiser: nn.Module) -> bool:
    """Whether all images of a call share one table of positions, and so must share their destinations."""
    return isinstance(denoiser, FluxTransformer2DModel)


def patch_size(module: nn.Module) -> int:
    """Side in latent pixels of one token of a module whose input is a feature map."""
    return module.config.patch_size if isinstance(module, PixArtTransformer2DModel | SD3Transformer2DModel) else 1


def packed_grid(ids: Tensor) -> tuple[int, int]:
    """The grid (H, W) of Flux's packed tokens, from their position ids [N, 3] (or [1, N, 3]): (image, row, column).

    A graph under `torch.compile` holds the grid it was compiled with. Called with as many tokens in another grid, it
    stops at an assertion.

    Raises:
        ValueError: for ids that are not those of one image, row by row.
    """
    ids = ids[0] if ids.ndim == 3 else ids
    width = _row_length(ids)
    if torch.compiler.is_compiling():
        same = (ids[:, 1] == ids[0, 1]).sum() == width
        told = "the token grid is not the compiled one; call torch.compiler.reset() before another, on a GPU start anew"
        torch._assert_async(same, told)  # on a GPU it ends the process's use of CUDA
    return ids.shape[0] // width, width


@constant
def _row_length(ids: Tensor) -> int:
    """Tokens per row, read off the ids: on a GPU the one value of a generation that is waited for."""
    width = int((ids[:, 1] == ids[0, 1]).sum())
    height, rest = divmod(ids.shape[0], width)
    rows, columns = ids[0, 1] + torch.arange(height).to(ids), ids[0, 2] + torch.arange(width).to(ids)
    expected = torch.stack([rows.repeat_interleave(width), columns.repeat(height)], dim=1)
    if rest or not torch.equal(ids[:, 1:3], expected) or (ids[:, 0] != ids[0, 0]).any():
        raise ValueError(
            f"img_ids must hold the rows and columns of one image, row by row, got {ids.shape[0]} tokens of which "
            f"{width} are in the first row; images given beside the latents (Flux Kontext) are not supported"
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
    """By name of a U-Net's level ("down_blocks.1", "mid_block"): how many times coarser its grid is than the top's."""
    found, level = {}, 1
    for way in ("down", "up"):
        for index, block in enumerate(getattr(denoiser, f"{way}_blocks", None) or ()):
            found[f"{way}_blocks.{index}"] = level
            if _resamples(block, way):
                level = level * 2 if way == "down" else level // 2
        found.setdefault("mid_block", level)
    return found


def _resamples(block: nn.Module, way: str) -> bool:
    """Whether a U-Net's block goes a level down or up: ControlNet-XS names what does it otherwise than U-Nets."""
    return any(f"{way}sampler" in name for name, part in block.named_children() if part is not None)


def halvings(top: tuple[int, int], grid: tuple[int, int]) -> int:
    """How many times coarser `grid` is than `top`, both (H, W): 1, 2, 4, ... by as many halvings, rounded up each.

    A grid that no halving gives (a level that a trick has shrunk) counts as what its longer ratio of sides rounds to.
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
