"""The free-merge oracle: attention on a shorter sequence without the cost of merging. A bound on speed, not a method.

A strided part of the tokens is the input and every output row is repeated: there is no similarity, index or weight. At
every site the number of tokens left is that of ReToM, so the additional time of ReToM is the cost of merging.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from baselines.adapter import Adapter
from retom.checks import check_number
from retom.patching.hooks import GridHook
from retom.patching.registry import Hook, register, remove_hooks
from retom.patching.site_state import Grid
from retom.patching.sites import Site, find_denoiser, find_sites
from retom.plans.representative import num_sources
from retom.plans.windows import check_window, tile

_GRID, _MERGE = "oracle_grid", "oracle_merge"


@dataclass(frozen=True)
class Oracle(Adapter):
    """Self-attention on a strided part of the tokens.

    Attributes:
        ratio: share of tokens removed, R in [0, 1).
        window: as in ReToM; it only determines the number of tokens left, sum(N_W - floor(R * N_W)).

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    window: int | Mapping[str, int] = field(default_factory=lambda: {"down": 2, "mid": 8, "up": 2}, hash=False)

    def __post_init__(self):
        check_number("ratio", self.ratio, "[0, 1)")
        object.__setattr__(self, "window", check_window(self.window))

    def tokens_left(self, grid: tuple[int, int], layer_type: str) -> int:
        """The number of tokens left at a site, M."""
        side = self.window if isinstance(self.window, int) else self.window[layer_type]
        return sum(
            region.num_windows * (region.size - num_sources(self.ratio, region.size)) for region in tile(grid, side)
        )

    def check_model(self, denoiser: nn.Module) -> None:
        """ValueError for a model without self-attention over image tokens only."""
        if not _plain_sites(denoiser):
            raise ValueError(f"the oracle does not support {type(denoiser).__name__}; supported are U-Nets and PixArt")

    def apply(self, pipe) -> int:
        """Patch every self-attention; ValueError for a model without a site, or patched already."""
        denoiser = find_denoiser(pipe)
        self.check_model(denoiser)
        sites = _plain_sites(denoiser)
        if _hooks(denoiser):
            raise ValueError(f"the {type(denoiser).__name__} is patched by the oracle already; remove that patch first")
        grids = {site.parent: Grid() for site in sites}
        for parent, family in {site.parent: site.family for site in sites}.items():
            register(parent, GridHook(grids[parent], family), _GRID)
        for site in sites:
            register(site.block.attn1, StrideHook(self, site, grids[site.parent]), _MERGE)
        return len(sites)

    def remove(self, pipe) -> None:
        """Remove the patch and restore the `vars` of every module."""
        remove_hooks(find_denoiser(pipe), (_GRID, _MERGE))

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Nothing is random."""

    def report(self, pipe) -> list[dict[str, Any]]:
        """See `retom.report`; nothing is planned."""
        return [hook.report() for hook in _hooks(find_denoiser(pipe))]


class StrideHook(Hook):
    """On a self-attention: drop tokens, run it, repeat its output."""

    def __init__(self, oracle: Oracle, site: Site, grid: Grid):
        super().__init__()
        self.oracle = oracle
        self.site = site
        self.grid = grid
        self.seen: tuple[int, int] | None = None

    def call(self, module: nn.Module, *args, **kwargs):
        """Run the attention on fewer tokens."""
        forward = self.under
        x = args[0] if args else kwargs["hidden_states"]
        left = self.oracle.tokens_left(self.grid.known, self.site.layer_type)
        self.seen = (x.shape[1], left)
        short = shorten(x, left)
        if args:
            args = (short, *args[1:])
        else:
            kwargs = {**kwargs, "hidden_states": short}
        return lengthen(forward(*args, **kwargs), x.shape[1])

    def report(self) -> dict[str, Any]:
        """What the site did, with the keys of `retom.report`."""
        tokens, merged = self.seen or (None, None)
        return {
            "site": self.site.name,
            "layer_type": self.site.layer_type,
            "grid": None if self.grid.size is None else list(self.grid.size),
            "tokens": tokens,
            "merged": merged,
            "plans_computed": 0,
            "plans_reused": 0,
        }


def shorten(x: Tensor, left: int) -> Tensor:
    """Every k-th token if N = k * left, otherwise the first `left`; [B, N, C] -> [B, left, C], a view."""
    stride, rest = divmod(x.shape[1], left)
    return x[:, :left] if rest else x[:, ::stride]


def lengthen(y: Tensor, tokens: int) -> Tensor:
    """Each row k times if N = k * M, otherwise all rows followed by repeats up to N; -> [B, tokens, C]."""
    batch, left, channels = y.shape
    stride, rest = divmod(tokens, left)
    if rest:
        return torch.cat([y] * stride + [y[:, :rest]], dim=1)
    return y[:, :, None].expand(batch, left, stride, channels).reshape(batch, tokens, channels)


def _plain_sites(denoiser: nn.Module) -> list[Site]:
    """The sites with self-attention over image tokens only."""
    return [site for site in find_sites(denoiser) if not site.joint and site.sublayers(("self",))]


def _hooks(denoiser: nn.Module) -> list[StrideHook]:
    registries = [vars(site.block.attn1).get("_diffusers_hook") for site in _plain_sites(denoiser)]
    hooks = [registry.get_hook(_MERGE) for registry in registries if registry is not None]
    return [hook for hook in hooks if hook is not None]
