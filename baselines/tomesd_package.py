"""ToMeSD by its official package, `tomesd`, with its silent traps made loud and its random choices tied to the image.

The package draws the destinations once per block call, one draw for all rows of the batch, from a generator it forks
from the global one when patched and never resets. The same image therefore differs with its batch, its neighbours and
what ran before. Seeding the generator for every pipeline call cures the history, but a draw that several images share
is a function of one image's seed only when that image is alone: hence `batch_limit` is 1 while the choice is random.
Seeding every call with one seed for the whole run would allow any batch, at the price of the same choices in all
images, which the package never makes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tomesd
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from baselines.adapter import Adapter
from baselines.checks import check_integers, check_ratio
from baselines.traces import Traces, state_of
from retom.checks import as_tuple, check_flag
from retom.patch import check_free
from retom.sites import Site, find_denoiser, find_sites

_STATE = "_tomesd_package"
# The image's noise is drawn from the seed itself; an unsalted generator would repeat that very stream.
_SALT = int.from_bytes(b"tomesd", "big")
_ARGUMENTS = {"self": "merge_attn", "cross": "merge_crossattn", "ff": "merge_mlp"}


@dataclass(frozen=True)
class ToMeSDPackage(Adapter):
    """The package's own options, in this project's words.

    Attributes:
        ratio: share of tokens removed, in [0, 1 - 1 / (sx * sy)]; the package caps higher ones silently.
        sx, sy: width and height of a window in tokens.
        use_rand: a random destination in each window; otherwise its top left token.
        targets: the sub-layers that run on merged tokens, of "self", "cross", "ff".
        max_downsample: leave grids coarser than this alone: 1, 2, 4 or 8.

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
            raise ValueError(f"targets must be a choice of {', '.join(_ARGUMENTS)}, got {self.targets!r}")
        check_integers(self, sx=1, sy=1, max_downsample=1)
        check_flag("use_rand", self.use_rand)
        check_ratio(self.ratio, {f"sx={self.sx}, sy={self.sy}": self.sx * self.sy})

    @property
    def batch_limit(self) -> int | None:
        """1 while destinations are random: the package shares one draw among all images of a call."""
        return 1 if self.use_rand and self.merges else None

    def check_model(self, denoiser: nn.Module) -> None:
        """ValueError for what the package cannot patch, or patches and then computes something else."""
        sites = find_sites(denoiser)
        if not isinstance(denoiser, UNet2DConditionModel) or not sites:
            raise ValueError(f"tomesd patches U-Nets with transformer blocks, got {type(denoiser).__name__}")
        if any(getattr(site.block, "fuser", None) is not None for site in sites):
            raise ValueError("tomesd drops GLIGEN's layers silently; use baselines.tomesd.ToMeSD on this U-Net")

    def reaches(self, downsample: int) -> bool:
        """Whether sites so many times coarser than the top level are merged: up to `max_downsample`."""
        return downsample <= self.max_downsample

    def apply(self, pipe) -> int:
        """Patch the U-Net by `tomesd.apply_patch` and listen to what its sites then do."""
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
        """`tomesd.remove_patch`, and what it leaves behind as well; an unpatched model is left as it is."""
        unet = find_denoiser(pipe)
        state = vars(unet).pop(_STATE, None)
        if state is not None:
            tomesd.remove_patch(unet)
            state.traces.clear()

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Seed the package's generator for the next pipeline call.

        Within `batch_limit` that is the image's own seed. In a larger batch, which the speed pass makes, all images
        share the draws of the first one's seed, as the package has it.
        """
        if not len(seeds):
            raise ValueError("seeds must hold one integer per image, got none")
        state_of(pipe, _STATE, "ToMeSDPackage").seed = int(seeds[0])

    def report(self, pipe) -> list[dict[str, Any]]:
        """See `retom.report`; token counts are those the sub-layers were really called with."""
        return [record.report() for record in state_of(pipe, _STATE, "ToMeSDPackage").records]


@dataclass(eq=False)
class _SiteRecord:
    """What was seen at one site: its grid, the tokens that came in, and those its sub-layer ran on."""

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
    """What `remove`, `set_seeds` and `report` need; kept on the U-Net.

    arguments: the package's own, with its generator. seed: of the next call, until its generator is made; the first
    call of all has 0.
    """

    arguments: dict[str, Any]
    traces: Traces
    records: list[_SiteRecord]
    seed: int | None = 0

    def listen(self, unet: nn.Module, targets: tuple[str, ...]) -> None:
        """Put listeners on the U-Net and on every site; they change nothing that passes."""

        def begin(_module, args, kwargs):
            self._begin(_states(args, kwargs, "sample"))

        self.traces.listen(unet, begin)
        for record in self.records:
            for module, listener in _listeners(record, targets):
                self.traces.listen(module, listener)

    def _begin(self, sample: torch.Tensor) -> None:
        """Before a U-Net call: refuse what the package would silently do otherwise, and seed where it is due."""
        if self.arguments["use_rand"] and sample.shape[0] % 2:
            raise ValueError(
                f"tomesd turns its randomness off for an odd number of rows, and the U-Net is called with "
                f"{sample.shape[0]}; use guidance above 1, or use_rand=False, or baselines.tomesd.ToMeSD"
            )
        if self.seed is not None:
            # On the device of the call: the package replaces a generator that lives elsewhere.
            self.arguments["generator"] = torch.Generator(sample.device).manual_seed(self.seed ^ _SALT)
            self.seed = None


def _listeners(record: _SiteRecord, targets: tuple[str, ...]):
    """(module, listener) for the grid at the parent, N at the block, M at the first sub-layer that merges."""

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
