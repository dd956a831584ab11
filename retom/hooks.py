"""The hooks of a patched model, all `ModelHook`s of diffusers: one counts steps, one reads grids, the others merge.

Hooks wrap `forward` on the instance. Nothing is subclassed or copied, no attention processor is replaced, and the names
of parameters stay, so LoRA, IP-Adapter, GLIGEN and `set_attn_processor` work as on an unpatched model.
"""

import inspect
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import Tensor, nn

from retom.backends import check_backend
from retom.method import SiteContext, TokenMerger
from retom.plan import MergePlan
from retom.sites import Site, patch_size


class Generation:
    """What is known of the generation under way: its step, whether plans are made anew, the images' seeds.

    A generation ends when the text embeddings are another tensor (a pipeline makes new ones in every call), when the
    latents change shape, when timesteps turn around, or when `retom.reset` is called. Nothing is read from a GPU.
    """

    def __init__(self, period: int):
        self.period = period
        self.seeds: tuple[int, ...] = (0,)
        self.plans_computed = 0
        self.plans_reused = 0
        self.shared: dict[str, Any] = {}
        self.memories: list[dict[str, Any]] = [self.shared]
        self.reset()

    def reset(self) -> None:
        """Forget the generation; the next call is step 0 of a new one."""
        self.step = -1
        self.refresh = True
        self.text: Tensor | None = None
        self.size: tuple[int, ...] | None = None
        self.timestep: float | None = None
        self.falling: bool | None = None
        self.output: Tensor | None = None
        for memory in self.memories:
            memory.clear()

    def advance(self, sample: Tensor, timestep: Any, text: Tensor | None) -> None:
        """Begin a denoiser call."""
        size = tuple(sample.shape)
        if text is not self.text or size != self.size or self._turned(timestep):
            self.reset()
            self.text, self.size = text, size
            self._turned(timestep)
        self.step += 1
        self.refresh = self.step % self.period == 0
        if self.refresh:
            self.plans_computed += 1
        else:
            self.plans_reused += 1

    def _turned(self, timestep: Any) -> bool:
        """Whether timesteps, so far falling (or rising, in inversion), now go the other way.

        Only timesteps already on the host are looked at; reading one from a GPU would wait for it.
        """
        if isinstance(timestep, Tensor):
            if torch.compiler.is_compiling() or timestep.device.type != "cpu" or timestep.numel() == 0:
                return False
            timestep = timestep.flatten()[0].item()
        last, self.timestep = self.timestep, float(timestep)
        if last is None or last == self.timestep:
            return False
        falling = self.timestep < last
        turned = self.falling is not None and falling != self.falling
        self.falling = falling
        return turned

    def row_seeds(self, batch: int, device: torch.device) -> Tensor:
        """The seed of every row, [B] int64: guidance stacks whole batches of images, so seeds repeat."""
        repeats, rest = divmod(batch, len(self.seeds))
        if rest:
            raise ValueError(
                f"seeds must fit the batch: the model is called with {batch} rows, which is no multiple of the "
                f"{len(self.seeds)} seeds given to retom.set_seeds"
            )
        return torch.tensor(self.seeds, dtype=torch.int64, device=device).repeat(repeats)


class Grid:
    """The token grid (H, W) under one parent during the current call."""

    def __init__(self):
        self.size: tuple[int, int] | None = None


class SitePatch:
    """The state of one site: its plan, kept between refreshes."""

    def __init__(self, site: Site, method: TokenMerger, backend: str, generation: Generation, top: Grid, grid: Grid):
        check_backend(backend)
        self.site = site
        self.method = method
        self.backend = backend
        self.generation = generation
        self.top = top
        self.grid = grid
        self.leader: SitePatch | None = None
        self.memory: dict[str, Any] = {}
        generation.memories.append(self.memory)
        self._kept: tuple | None = None
        self.planned_grid: tuple[int, int] | None = None

    def refresh(self, metric: Tensor) -> None:
        """Plan anew from metric [B, N, C], or take over the leader's plan."""
        grid = self.grid.size
        if self.leader is not None:
            self._kept, self.planned_grid = self.leader._kept, grid
            return
        context = SiteContext(
            name=self.site.name,
            layer=self.site.layer,
            layer_type=self.site.layer_type,
            downsample=-(-self.top.size[0] // grid[0]),
            step=self.generation.step,
            seeds=self.generation.row_seeds(metric.shape[0], metric.device),
            backend=self.backend,
            memory=self.memory,
            shared=self.generation.shared,
            output=self.generation.output,
        )
        plan = self.method.plan(metric, grid, context)
        if plan is not None:
            plan = plan.on(self.backend)
        self._kept = None if plan is None else (type(plan), *plan.parts())
        self.planned_grid = grid

    @property
    def plan(self) -> MergePlan | None:
        """The plan in force; None where the site is left alone."""
        return None if self._kept is None else self._kept[0](*self._kept[1:])

    def report(self) -> dict[str, Any]:
        """What the site did: see `retom.report`."""
        generation, grid, plan = self.generation, self.planned_grid, self.plan
        tokens = None if grid is None else grid[0] * grid[1]
        idle = plan is None or plan.is_identity
        return {
            "site": self.site.name,
            "layer_type": self.site.layer_type,
            "grid": None if grid is None else list(grid),
            "tokens": tokens,
            "merged": tokens if idle else plan.num_merged,
            "plans_computed": 0 if idle else generation.plans_computed,
            "plans_reused": 0 if idle else generation.plans_reused,
        }


class StepHook(ModelHook):
    """On the denoiser: counts its calls and notices where a generation begins."""

    def __init__(self, generation: Generation, patches: list[SitePatch], top: Grid, keep_output: bool):
        super().__init__()
        self.generation = generation
        self.keep_output = keep_output
        self.patches = patches
        self.top = top

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Learn where the denoiser takes its inputs: their order differs between families."""
        self.positions = {name: place for place, name in enumerate(inspect.signature(module.forward).parameters)}
        self.sample = "sample" if "sample" in self.positions else "hidden_states"
        self.patch_size = patch_size(module)
        return module

    def pre_forward(self, module: nn.Module, *args, **kwargs):
        """Count the call."""
        sample = self._argument(args, kwargs, self.sample)
        height, width = sample.shape[-2:]
        self.top.size = (height // self.patch_size, width // self.patch_size)
        self.generation.advance(
            sample, self._argument(args, kwargs, "timestep"), self._argument(args, kwargs, "encoder_hidden_states")
        )
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        """Keep the output for methods that look at it."""
        if self.keep_output:
            self.generation.output = output[0]
        return output

    def _argument(self, args, kwargs, name: str):
        place = self.positions[name]
        return args[place] if place < len(args) else kwargs.get(name)


class GridHook(ModelHook):
    """On a site's parent: reads the token grid off its feature map [B, C, H, W]."""

    def __init__(self, grid: Grid):
        super().__init__()
        self.grid = grid

    def pre_forward(self, module: nn.Module, *args, **kwargs):
        """Note the grid."""
        states = args[0] if args else kwargs["hidden_states"]
        side = patch_size(module)
        self.grid.size = (states.shape[-2] // side, states.shape[-1] // side)
        return args, kwargs


class PlanHook(ModelHook):
    """On a block: plans from the block's input, for methods whose metric is "block_input"."""

    def __init__(self, patch: SitePatch):
        super().__init__()
        self.patch = patch

    def pre_forward(self, module: nn.Module, *args, **kwargs):
        """Plan where a refresh is due."""
        if self.patch.generation.refresh:
            self.patch.refresh(args[0] if args else kwargs["hidden_states"])
        return args, kwargs


class MergeHook(ModelHook):
    """On a sub-layer: merge its tokens, run it, unmerge its output."""

    def __init__(self, patch: SitePatch, target: str, plans: bool):
        super().__init__()
        self.patch = patch
        self.target = target
        self.plans = plans

    def new_forward(self, module: nn.Module, *args, **kwargs):
        """Run the sub-layer on merged tokens."""
        forward = self.fn_ref.original_forward
        x = args[0] if args else kwargs["hidden_states"]
        self._check(kwargs)
        if self.plans and self.patch.generation.refresh:
            self.patch.refresh(x)
        plan = self.patch.plan
        if plan is None or plan.is_identity:
            return forward(*args, **kwargs)
        if self.target == "self_kv":
            kwargs = {name: value for name, value in kwargs.items() if name != "hidden_states"}
            return forward(x, **{**kwargs, "encoder_hidden_states": plan.merge(x)})
        if args:
            args = (plan.merge(x), *args[1:])
        else:
            kwargs = {**kwargs, "hidden_states": plan.merge(x)}
        return plan.unmerge(forward(*args, **kwargs))

    def _check(self, kwargs: dict[str, Any]) -> None:
        """Masks speak of tokens that are no longer there."""
        name = self.patch.site.name
        if self.target in ("self", "self_kv") and kwargs.get("attention_mask") is not None:
            raise ValueError(
                f"attention_mask is given to the self-attention of {name}, but merged tokens no longer match a mask; "
                "call the model without a mask, or remove_patch first"
            )
        if self.target == "cross" and kwargs.get("ip_adapter_masks") is not None:
            raise ValueError(
                f"ip_adapter_masks are given to the cross-attention of {name}, whose queries are merged; "
                "leave 'cross' out of targets"
            )
