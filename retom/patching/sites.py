"""Sites: the places in a model where tokens are merged. A site is a transformer block under a parent that has its grid.

Which blocks and parents these are, a family tells (`retom.families`).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from diffusers.models.modeling_utils import ModelMixin
from torch import nn

from retom.families import Family, Sublayer, families, served
from retom.families.base import is_named


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
        family: the family that the block was found by.
    """

    name: str
    layer: int
    layer_type: str
    downsample: int
    block: nn.Module
    parent: nn.Module
    family: Family

    @property
    def joint(self) -> bool:
        """Whether the self-attention of the block runs over text and image tokens together."""
        attention = self.family.sublayers(self.block).get("self")
        return attention is not None and attention.text is not None

    def parts(self, targets: tuple[str, ...]) -> dict[str, Sublayer]:
        """The sub-layers that run on merged tokens, in the order they run.

        "self" covers both self-attentions of a block with two; the second, over image tokens only, is listed as
        "self_image". They are one site with one plan, made at the first.
        """
        wanted = {*targets, *(("self_image",) if "self" in targets else ())}
        return {target: part for target, part in self.family.sublayers(self.block).items() if target in wanted}

    def sublayers(self, targets: tuple[str, ...]) -> dict[str, nn.Module]:
        """The modules of `parts`."""
        return {target: getattr(self.block, part.module) for target, part in self.parts(targets).items()}


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
    """Whether it is a model of diffusers, and not a part of a denoiser, some of which are models as well."""
    return isinstance(module, ModelMixin) and not any(is_named(module, family.parts) for family in families())


def find_sites(denoiser: nn.Module) -> list[Site]:
    """The sites of a denoiser, in the order they run."""
    found = sorted(_blocks(denoiser), key=lambda entry: _running_order(entry[0], entry[3]))
    levels: dict[Family, dict[str, int]] = {}
    sites: list[Site] = []
    for name, block, parent, family in found:
        if family not in levels:
            levels[family] = family.downsamples(denoiser)
        downsample = _downsample(name, levels[family])
        sites.append(Site(name, len(sites), family.layer_type(name), downsample, block, parent, family))
    return sites


def _blocks(denoiser: nn.Module) -> Iterator[tuple[str, nn.Module, nn.Module, Family]]:
    """Name, block, parent and family of every site."""
    modules, known = dict(denoiser.named_modules()), families()
    for name, block in modules.items():
        path = name.split(".")
        # usually the list of blocks of the parent is between them: "attentions.0.transformer_blocks.3"
        parents = [modules[".".join(path[:-up])] for up in (1, 2) if len(path) >= up]
        serving = ((parent, family) for parent in parents for family in known if family.is_site(block, parent))
        parent, family = next(serving, (None, None))
        if parent is not None and family is not None:
            yield name, block, parent, family


def _downsample(name: str, levels: dict[str, int]) -> int:
    """That of the longest part of the name that has one."""
    path = name.split(".")
    parts = (".".join(path[:length]) for length in range(len(path), 0, -1))
    return next((levels[part] for part in parts if part in levels), 1)


def check_targets(denoiser: nn.Module, sites: list[Site], targets: tuple[str, ...]) -> None:
    """ValueError for a target that no site of the model has, before anything runs."""
    if not sites:
        raise ValueError(
            f"{type(denoiser).__name__} has no site where tokens can be merged; supported are {served()}; for another "
            "model see docs/own_attention.md: retom.MergedAttention wraps any attention, retom.families.register adds "
            "an architecture"
        )
    offered = dict.fromkeys(name for site in sites for name in site.family.sublayers(site.block))
    offered.pop("self_image", None)
    missing = [target for target in targets if target not in offered]
    if missing:
        reason = " (its self-attention includes the text)" if sites[0].joint else ""
        raise ValueError(
            f"targets of a {type(denoiser).__name__} must be one or more of {', '.join(offered)}{reason}, "
            f"got {missing[0]!r}"
        )


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


def _running_order(name: str, family: Family) -> tuple[int, list[int]]:
    """By the family's rank, then by the numbers in the name."""
    return family.rank(name), [int(part) if part.isdigit() else -1 for part in name.split(".")]
