"""ToMeSD from its official package, `tomesd`. Silent failures raise errors, and random choices depend on the image
seed.

The package draws the destinations once per block call, for all rows of the batch, from a generator that it forks from
the global one when it patches a model and never resets. An image therefore depends on its batch, its neighbours and
earlier runs. Seeding the generator for every pipeline call removes the dependence on earlier runs. A draw that several
images share depends on the seed of one image only if that image is alone, so `batch_limit` is 1 if destinations are
random. Seeding every call with one seed for the complete run would allow any batch, but all images would then have the
same choices, which the package never does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomesd
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from baselines.adapter import Adapter
from baselines.parts.checks import check_integers, check_ratio
from baselines.parts.traces import Traces, state_of
from retom.checks import as_tuple, check_flag
from retom.patching.patch import check_free
from retom.patching.sites import Site, find_denoiser, find_sites

_STATE = "_tomesd_package"
# The noise of the image is drawn from the seed itself. A generator without salt would repeat that stream.
_SALT = int.from_bytes(b"tomesd", "big")
_ARGUMENTS = {"self": "merge_attn", "cross": "merge_crossattn", "ff": "merge_mlp"}


@dataclass(frozen=True)
class ToMeSDPackage(Adapter):
    """The options of the package, under the names of this project.

    Attributes:
        ratio: share of tokens removed, in [0, 1 - 1 / (sx * sy)]; the package caps higher ones silently.
        sx, sy: width and height of a window in tokens.
        use_rand: a random destination in each window; otherwise its top left token.
        targets: the sub-layers that run on merged tokens, of "self", "cross", "ff".
        max_downsample: sites with coarser grids are not merged: 1, 2, 4 or 8.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    sx: int = 2
    sy: int = 2
    use_rand: bool = True
    targets: tuple[str, ...] = ("self",)
    max_downsample: int = 1

    def __post_init__(self):
        object.__setattr__(self, "targets", as_tuple(self.targets))
        known = isinstance(self.targets, tuple) and all(target in list(_ARGUMENTS) for target in self.targets)
        if not known or not self.targets:
            raise ValueError(f"targets must be one or more of {', '.join(_ARGUMENTS)}, got {self.targets!r}")
        check_integers(self, sx=1, sy=1, max_downsample=1)
        check_flag("use_rand", self.use_rand)
        check_ratio(self.ratio, {f"sx={self.sx}, sy={self.sy}": self.sx * self.sy})

    @property
    def batch_limit(self) -> int | None:
        """1 if destinations are random: the package uses one draw for all images of a call."""
        return 1 if self.use_rand and self.merges else None

    def check_model(self, denoiser: nn.Module) -> None:
        """ValueError for a model that the package cannot patch, or patches incorrectly."""
        sites = find_sites(denoiser)
        if not isinstance(denoiser, UNet2DConditionModel) or not sites:
            raise ValueError(f"tomesd patches U-Nets with transformer blocks, got {type(denoiser).__name__}")
        if any(getattr(site.block, "fuser", None) is not None for site in sites):
            raise ValueError("tomesd silently drops the layers of GLIGEN; use baselines.tomesd.ToMeSD on this U-Net")

    def reaches(self, downsample: int) -> bool:
        """Whether sites that are `downsample` times coarser than the top level are merged: up to `max_downsample`."""
        return downsample <= self.max_downsample

    def apply(self, pipe) -> int:
        """Patch the U-Net with `tomesd.apply_patch` and record what its sites do."""
        unet = find_denoiser(pipe)
        self.check_model(unet)
        check_free(unet)
        sites = [site for site in find_sites(unet) if site.sublayers(self.targets)]
        arguments = {argument: target in self.targets for target, argument in _ARGUMENTS.items()}
        options = {name: getattr(self, name) for name in ("ratio", "sx", "sy", "use_rand", "max_downsample")}
        traces = Traces.of(unet, lambda: tomesd.apply_patch(unet, **options, **arguments))
        state = _State(unet._tome_info["args"], traces, [_SiteRecord(site) for site in sites])
        setattr(unet, _STATE, state)
        state.listen(unet, self.targets)
        return len(sites)

    def remove(self, pipe) -> None:
        """Call `tomesd.remove_patch` and remove what that leaves. A model without the patch is not changed."""
        unet = find_denoiser(pipe)
        state = vars(unet).pop(_STATE, None)
        if state is not None:
            tomesd.remove_patch(unet)
            state.traces.clear()

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Seed the generator of the package for the next pipeline call.

        Within `batch_limit` it gets the seed of the image. In a larger batch, as in the speed pass, all images share
        the draws from the seed of the first one, as in the package.
        """
        if not len(seeds):
            raise ValueError("seeds must have one integer per image, got none")
        state_of(pipe, _STATE, "ToMeSDPackage").seed = int(seeds[0])

    def report(self, pipe) -> list[dict[str, Any]]:
        """See `retom.report`; token counts are those of the actual calls of the sub-layers."""
        return [record.report() for record in state_of(pipe, _STATE, "ToMeSDPackage").records]


@dataclass(eq=False)
class _SiteRecord:
    """What was recorded at one site: its grid, its tokens, and the tokens that its sub-layer ran on."""

    site: Site
    grid: tuple[int, int] | None = None
    tokens: int | None = None
    merged: int | None = None
    plans: int = 0

    def report(self) -> dict[str, Any]:
        return {
            "site": self.site.name,
            "layer_type": self.site.layer_type,
            "grid": None if self.grid is None else list(self.grid),
            "tokens": self.tokens,
            "merged": self.merged,
            "plans_computed": self.plans,
            "plans_reused": 0,
        }


@dataclass(eq=False)
class _State:
    """What `remove`, `set_seeds` and `report` need; stored on the U-Net.

    arguments: those of the package, with its generator. seed: of the next call, until its generator is created; 0 for
    the very first call.
    """

    arguments: dict[str, Any]
    traces: Traces
    records: list[_SiteRecord]
    seed: int | None = 0

    def listen(self, unet: nn.Module, targets: tuple[str, ...]) -> None:
        """Add listeners to the U-Net and to every site. They change no inputs."""

        def begin(_module, args, kwargs):
            self._begin(_states(args, kwargs, "sample"))

        self.traces.listen(unet, begin)
        for record in self.records:
            for module, listener in _listeners(record, targets):
                self.traces.listen(module, listener)

    def _begin(self, sample: torch.Tensor) -> None:
        """Before a U-Net call: raise where the package would fail silently, and seed if a seed was set."""
        if self.arguments["use_rand"] and sample.shape[0] % 2:
            raise ValueError(
                f"tomesd disables random destinations for an odd number of rows, and the U-Net is called with "
                f"{sample.shape[0]}; use guidance above 1, or use_rand=False, or baselines.tomesd.ToMeSD"
            )
        if self.seed is not None:
            # On the device of the call: the package replaces a generator on another device.
            self.arguments["generator"] = torch.Generator(sample.device).manual_seed(self.seed ^ _SALT)
            self.seed = None


def _listeners(record: _SiteRecord, targets: tuple[str, ...]):
    """(module, listener) for the grid at the parent, N at the block, M at the first merged sub-layer."""

    def see_grid(_module, args, kwargs):
        record.grid = tuple(_states(args, kwargs, "hidden_states").shape[-2:])

    def see_tokens(_module, args, kwargs):
        record.tokens = _states(args, kwargs, "hidden_states").shape[1]

    def see_merged(_module, args, kwargs):
        record.merged = _states(args, kwargs, "hidden_states").shape[1]
        record.plans += record.merged < record.tokens

    sublayer = next(iter(record.site.sublayers(targets).values()))
    return (record.site.parent, see_grid), (record.site.block, see_tokens), (sublayer, see_merged)


def _states(args: tuple, kwargs: dict[str, Any], name: str) -> torch.Tensor:
    return args[0] if args else kwargs[name]
