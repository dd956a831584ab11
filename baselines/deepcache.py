"""DeepCache (arXiv 2312.00858), from its official package `DeepCache`: a control that merges no tokens.

The deep part of the U-Net runs at every `interval`-th step, and its output is reused at the steps in between. The
package works with current versions of diffusers. It needs a complete pipeline, since it looks up the timestep in the
scheduler. Two calls with one timestep (PNDM repeats its second) count as one step. `torch.compile` cannot trace its
Python state.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from DeepCache import DeepCacheSDHelper
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from baselines.adapter import Adapter
from baselines.parts.checks import check_integers
from baselines.parts.traces import Traces, state_of
from retom.patching.sites import Site, find_denoiser, find_sites

_STATE = "_deepcache_package"


@dataclass(frozen=True)
class DeepCache(Adapter):
    """The options of the package, under the names of this project.

    Attributes:
        interval: number of steps after which the deep part runs again, N >= 1; 1 reuses nothing.
        branch: the skip connection at which the reused features enter. With 0, the outermost, only the last layer of
            the up path runs at every step.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    interval: int = 3
    branch: int = 0

    def __post_init__(self):
        check_integers(self, interval=1, branch=0)

    @property
    def merges(self) -> bool:
        """False: layers are skipped, and the report lists at how many steps."""
        return False

    def check_model(self, denoiser: nn.Module) -> None:
        """ValueError for a denoiser that the package cannot wrap: a transformer, or a compiled U-Net."""
        if not isinstance(denoiser, UNet2DConditionModel):
            raise ValueError(f"DeepCache wraps the blocks of a UNet2DConditionModel, got {type(denoiser).__name__}")
        if denoiser._compiled_call_impl is not None:
            raise ValueError("DeepCache cannot run in a compiled U-Net; set sampler.compile=false")

    def apply(self, pipe) -> int:
        """Wrap the blocks of the U-Net with the package. Returns the number of transformer blocks among them."""
        unet = getattr(pipe, "unet", None)
        if unet is None or not hasattr(pipe, "scheduler"):
            raise ValueError(f"DeepCache needs a pipeline with a UNet2DConditionModel, got {type(pipe).__name__}")
        self.check_model(unet)
        if _STATE in vars(unet):
            raise ValueError("the U-Net is patched by DeepCache already; remove that patch first")
        helper = DeepCacheSDHelper(pipe)
        helper.set_params(cache_interval=self.interval, cache_branch_id=self.branch)
        traces = Traces.of(unet, helper.enable)
        state = _State(helper, traces, [_SiteRecord(site) for site in find_sites(unet)])
        setattr(unet, _STATE, state)
        state.listen(unet)
        return len(state.records)

    def remove(self, pipe) -> None:
        """Call `disable` of the package and remove what that leaves. A model without the patch is not changed."""
        unet = find_denoiser(pipe)
        state = vars(unet).pop(_STATE, None)
        if state is not None:
            state.helper.disable()
            state.traces.clear()

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Nothing is random; the cache of the last generation is cleared."""
        helper = state_of(pipe, _STATE, "DeepCache").helper
        helper.cached_output.clear()
        helper.start_timestep = None

    def report(self, pipe) -> list[dict[str, Any]]:
        """The keys of `retom.report`: no tokens are merged; plans_computed counts the calls in which the block ran, and
        plans_reused those in which it was skipped."""
        state = state_of(pipe, _STATE, "DeepCache")
        return [record.report(state.calls) for record in state.records]


@dataclass(eq=False)
class _SiteRecord:
    """What was recorded at one transformer block."""

    site: Site
    grid: tuple[int, int] | None = None
    tokens: int | None = None
    ran: int = 0

    def report(self, calls: int) -> dict[str, Any]:
        return {
            "site": self.site.name,
            "layer_type": self.site.layer_type,
            "grid": None if self.grid is None else list(self.grid),
            "tokens": self.tokens,
            "merged": self.tokens,
            "plans_computed": self.ran,
            "plans_reused": calls - self.ran,
        }


@dataclass(eq=False)
class _State:
    """What `remove`, `set_seeds` and `report` need; stored on the U-Net."""

    helper: DeepCacheSDHelper
    traces: Traces
    records: list[_SiteRecord]
    calls: int = 0

    def listen(self, unet: nn.Module) -> None:
        """Count calls of the U-Net and of its transformer blocks. The listeners change no inputs."""

        def count(_module, _args, _kwargs):
            self.calls += 1

        self.traces.listen(unet, count)
        for record in self.records:
            self.traces.listen(record.site.parent, _see_grid(record))
            self.traces.listen(record.site.block, _see_run(record))


def _see_grid(record: _SiteRecord):
    def listener(_module, args, kwargs):
        record.grid = tuple(_states(args, kwargs).shape[-2:])

    return listener


def _see_run(record: _SiteRecord):
    def listener(_module, args, kwargs):
        record.tokens = _states(args, kwargs).shape[1]
        record.ran += 1

    return listener


def _states(args: tuple, kwargs: dict[str, Any]) -> Tensor:
    return args[0] if args else kwargs["hidden_states"]
