"""DeepCache (arXiv 2312.00858) by its official package, `DeepCache`: a control that merges nothing.

The deep part of the U-Net runs at every `interval`-th step, and its output is used again at the steps between. The
package works with today's diffusers; it serves whole pipelines, since it looks the timestep up in the scheduler. Two
calls of one timestep (PNDM repeats its second) count as one step for it. Its Python state is beyond `torch.compile`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from DeepCache import DeepCacheSDHelper
from diffusers import UNet2DConditionModel
from torch import Tensor, nn

from baselines.adapter import Adapter
from baselines.checks import check_integers
from retom.sites import Site, find_denoiser, find_sites

_STATE = "_deepcache_package"


@dataclass(frozen=True)
class DeepCache(Adapter):
    """The package's own options, in this project's words.

    Attributes:
        interval: the deep part runs at every so many steps, N >= 1; 1 reuses nothing.
        branch: which skip connection the reused features come in at, from 0, the outermost: then only the last layer of
            the way up runs at every step.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    interval: int = 3
    branch: int = 0

    def __post_init__(self):
        check_integers(self, interval=1, branch=0)

    @property
    def merges(self) -> bool:
        """Never: what is left out are layers, and the report says at how many steps."""
        return False

    def apply(self, pipe) -> int:
        """Wrap the U-Net's blocks by the package; the number of transformer blocks among them."""
        unet = _unet(pipe)
        if _STATE in vars(unet):
            raise ValueError("the U-Net is patched by DeepCache already; remove that patch first")
        before = {module: set(vars(module)) for module in unet.modules()}
        helper = DeepCacheSDHelper(pipe)
        helper.set_params(cache_interval=self.interval, cache_branch_id=self.branch)
        helper.enable()
        added = {module: set(vars(module)) - names for module, names in before.items()}
        state = _State(helper, added, [_SiteRecord(site) for site in find_sites(unet)])
        setattr(unet, _STATE, state)
        state.listen(unet)
        return len(state.records)

    def remove(self, pipe) -> None:
        """The package's own `disable`, and what that leaves behind as well; an unpatched model is left as it is."""
        unet = find_denoiser(pipe)
        state = vars(unet).pop(_STATE, None)
        if state is None:
            return
        for handle in state.handles:
            handle.remove()
        state.helper.disable()
        for module, names in state.added.items():
            for name in names:
                vars(module).pop(name, None)

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Nothing is random; the cache of the last generation is dropped."""
        helper = _state(pipe).helper
        helper.cached_output.clear()
        helper.start_timestep = None

    def report(self, pipe) -> list[dict[str, Any]]:
        """The keys of `retom.report`: nothing is merged; plans_computed are the calls at which the block ran, and
        plans_reused those at which it was left out."""
        state = _state(pipe)
        return [record.report(state.calls) for record in state.records]


@dataclass(eq=False)
class _SiteRecord:
    """What was seen at one transformer block."""

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
    """What `remove`, `set_seeds` and `report` need; kept on the U-Net. added: names the package put into `vars`."""

    helper: DeepCacheSDHelper
    added: dict[nn.Module, set[str]]
    records: list[_SiteRecord]
    handles: list = field(default_factory=list)
    calls: int = 0

    def listen(self, unet: nn.Module) -> None:
        """Count calls of the U-Net and of its transformer blocks; the listeners change nothing that passes."""

        def count(_module, _args):
            self.calls += 1

        self.handles.append(unet.register_forward_pre_hook(count))
        for record in self.records:
            for module, listener in ((record.site.parent, _see_grid(record)), (record.site.block, _see_run(record))):
                self.handles.append(module.register_forward_pre_hook(listener, with_kwargs=True))


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


def _unet(pipe) -> nn.Module:
    """The U-Net of a pipeline; ValueError for what the package cannot wrap."""
    unet = getattr(pipe, "unet", None)
    if not isinstance(unet, UNet2DConditionModel) or not hasattr(pipe, "scheduler"):
        raise ValueError(f"DeepCache needs a pipeline with a UNet2DConditionModel, got {type(pipe).__name__}")
    if unet._compiled_call_impl is not None:
        raise ValueError("DeepCache cannot run in a compiled U-Net; set sampler.compile=false")
    return unet


def _state(pipe) -> _State:
    unet = find_denoiser(pipe)
    state = vars(unet).get(_STATE)
    if state is None:
        raise ValueError(f"the {type(unet).__name__} is not patched by DeepCache; call apply first")
    return state
