"""The hooks of a patched model, all `ModelHook`s of diffusers: one counts steps, one reads grids, the others merge.

Hooks wrap `forward` on the instance (`retom.registry`). Nothing is subclassed or copied, no attention processor is
replaced, and the names of parameters stay, so LoRA, IP-Adapter, GLIGEN and `set_attn_processor` work as on an unpatched
model.
"""

import inspect
import operator
from collections.abc import Callable
from typing import Any

import torch
from diffusers.hooks import ModelHook
from torch import Tensor, nn

from retom.backends import check_backend
from retom.generation import Generation
from retom.method import SiteContext, TokenMerger
from retom.plan import MergePlan
from retom.sites import Site, packed_grid, patch_size


class Grid:
    """The token grid (H, W) under one parent, or of the denoiser itself, during the current call."""

    def __init__(self):
        self.size: tuple[int, int] | None = None


class SitePatch:
    """The state of one site: its plan, kept between refreshes."""

    def __init__(self, site: Site, method: TokenMerger, backend: str, generation: Generation, grid: Grid):
        check_backend(backend)
        self.site = site
        self.method = method
        self.backend = backend
        self.generation = generation
        self.grid = grid
        self.leader: SitePatch | None = None
        self.memory: dict[str, Any] = {}
        generation.memories.append(self.memory)
        self._kept: tuple | None = None
        self.planned_grid: tuple[int, int] | None = None
        self.merging: tuple | None = None  # the last plan that merged: (M, grid)

    def refresh(self, metric: Tensor) -> None:
        """Plan anew from metric [B, N, C], or take over the leader's plan."""
        grid = self.grid.size
        if self.leader is not None:
            self._kept, self.planned_grid, self.merging = self.leader._kept, grid, self.leader.merging
            return
        context = SiteContext(
            name=self.site.name,
            layer=self.site.layer,
            layer_type=self.site.layer_type,
            downsample=self.site.downsample,
            step=self.generation.step,
            seeds=self.generation.row_seeds(metric.shape[0], metric.device),
            backend=self.backend,
            memory=self.memory,
            output=self.generation.output,
        )
        plan = self._planned(metric, grid, context)
        if plan is not None:
            plan = plan.on(self.backend)
            if not plan.is_identity:
                self.merging = (plan.num_merged, grid)
        self._kept = None if plan is None else (type(plan), *plan.parts())
        self.planned_grid = grid

    def _planned(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan | None:
        """What the method plans in the precision it asks for: autocast would measure similarities in half."""
        device_type = metric.device.type
        if not torch.is_autocast_enabled(device_type):
            return self.method.plan(metric, grid, context)
        with torch.autocast(device_type, enabled=False):
            return self.method.plan(metric, grid, context)

    @property
    def plan(self) -> MergePlan | None:
        """The plan in force; None where the site is left alone."""
        return None if self._kept is None else self._kept[0](*self._kept[1:])

    def report(self, computed: int, reused: int) -> dict[str, Any]:
        """What the site did in a model that planned in so many calls and reused plans in so many: `retom.report`."""
        grid = self.planned_grid
        tokens = None if grid is None else grid[0] * grid[1]
        merged, on_grid = self.merging or (tokens, None)
        idle = on_grid is None or on_grid != grid
        return {
            "site": self.site.name,
            "layer_type": self.site.layer_type,
            "grid": None if grid is None else list(grid),
            "tokens": tokens,
            "merged": tokens if idle else merged,
            "plans_computed": 0 if idle else computed,
            "plans_reused": 0 if idle else reused,
        }


class StepHook(ModelHook):
    """On the denoiser: counts its calls and notices where a generation begins."""

    def __init__(self, generation: Generation, patches: list[SitePatch], keep_output: bool):
        super().__init__()
        self.generation = generation
        self.keep_output = keep_output
        self.patches = patches

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Learn where the denoiser takes its inputs: their order differs between families."""
        self.arguments = Arguments(module)
        self.sample = self.arguments.first_of("sample", "hidden_states")
        return module

    def pre_forward(self, module: nn.Module, *args, **kwargs):
        """Count the call."""
        names = (self.sample, "timestep", "encoder_hidden_states", "img_ids")
        self.generation.advance(*(self.arguments.get(name, args, kwargs) for name in names))
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        """Keep the output for methods that look at it."""
        if self.keep_output:
            if not isinstance(output[0], Tensor):
                raise ValueError(
                    f"the method looks at what the denoiser predicts, and a {type(module).__name__} predicts nothing; "
                    "put the method on the U-Net or transformer"
                )
            self.generation.output = output[0].detach()
        return output


class GridHook(ModelHook):
    """On the denoiser and on every site's parent: reads the token grid off what the module is called with."""

    def __init__(self, grid: Grid):
        super().__init__()
        self.grid = grid
        self.ids: Tensor | None = None

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Learn what tells the grid: a feature map [B, C, H, W], or in Flux the ids of the packed tokens."""
        self.arguments = Arguments(module)
        self.source = self.arguments.first_of("img_ids", "sample", "hidden_states")
        self.side = patch_size(module)
        return module

    def pre_forward(self, module: nn.Module, *args, **kwargs):
        """Note the grid. Ids are read once: they are the same tensor throughout a generation."""
        states = self.arguments.get(self.source, args, kwargs)
        if self.source != "img_ids":
            self.grid.size = _fixed(states.shape[-2] // self.side, states.shape[-1] // self.side)
        elif states is not self.ids:
            self.grid.size, self.ids = _fixed(*packed_grid(states)), states
        return args, kwargs


def _fixed(height: int, width: int) -> tuple[int, int]:
    """The grid as plain integers, a graph for each: sizes `torch.compile` leaves open cannot be cut into windows."""
    return operator.index(height), operator.index(width)


class Arguments:
    """Where a module's `forward` takes its arguments, so that a call by position and one by keyword read the same."""

    def __init__(self, module: nn.Module):
        self.module = type(module).__name__
        self.places = {name: place for place, name in enumerate(inspect.signature(module.forward).parameters)}

    def first_of(self, *names: str) -> str:
        """The first of these that `forward` takes."""
        found = next((name for name in names if name in self.places), None)
        if found is None:
            raise ValueError(f"{self.module} must take {' or '.join(names)}, got {', '.join(self.places) or 'nothing'}")
        return found

    def get(self, name: str, args: tuple, kwargs: dict[str, Any]) -> Any:
        """The argument of a call; None where it is not given or not known."""
        place = self.places.get(name)
        return args[place] if place is not None and place < len(args) else kwargs.get(name)

    def named(self, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        """All arguments of a call by their names."""
        given = {name: args[place] for name, place in self.places.items() if place < len(args)}
        return {**given, **kwargs}


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

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Learn where the sub-layer takes its arguments."""
        self.arguments = Arguments(module)
        return module

    def new_forward(self, module: nn.Module, *args, **kwargs):
        """Run the sub-layer on merged tokens."""
        forward = self.fn_ref.forward
        x = args[0] if args else kwargs["hidden_states"]
        self._check_settings(module)
        if self.plans and self.patch.generation.refresh:
            self.patch.refresh(self._measured(module, x))
        plan = self.patch.plan
        if plan is None or plan.is_identity:
            return forward(*args, **kwargs)
        self._check(args, kwargs)
        if self.target == "self_kv":
            return forward(**{**self.arguments.named(args, kwargs), "encoder_hidden_states": plan.merge(x)})
        return plan.unmerge(self._run_merged(forward, plan, args, kwargs))

    @staticmethod
    def _run_merged(forward: Callable, plan: MergePlan, args: tuple, kwargs: dict[str, Any]) -> Tensor:
        """The sub-layer on merged tokens, of which nothing is held any more when unmerging needs room."""
        if args:
            return forward(plan.merge(args[0]), *args[1:], **kwargs)
        return forward(**{**kwargs, "hidden_states": plan.merge(kwargs["hidden_states"])})

    def _measured(self, module: nn.Module, x: Tensor) -> Tensor:
        """What the method measures on: the attention's input or its keys."""
        return module.to_k(x) if self.patch.method.metric == "keys" else x

    def _check_settings(self, module: nn.Module) -> None:
        """ValueError where the module is set to run in a way that merged tokens cannot follow."""
        name = self.patch.site.name
        if self.target == "self_kv" and getattr(module, "fused_projections", False):
            raise ValueError(
                f"the projections of {name} are fused, and keys of merged tokens need one of their own; call "
                "unfuse_qkv_projections(), or take targets=('self',)"
            )
        if self.target == "ff" and getattr(self.patch.site.block, "_chunk_size", None):
            raise ValueError(
                f"the feed-forward of {name} is run in chunks, which merged tokens cannot be cut into; call "
                "set_chunk_feed_forward(None), or leave 'ff' out of targets"
            )

    def _check(self, args: tuple, kwargs: dict[str, Any]) -> None:
        """ValueError for masks: they speak of tokens that are no longer there."""
        name = self.patch.site.name
        if self.target.startswith("self") and self.arguments.get("attention_mask", args, kwargs) is not None:
            raise ValueError(
                f"attention_mask is given to the self-attention of {name}, but merged tokens no longer match a mask; "
                "call the model without a mask, or remove_patch first"
            )
        if self.target == "cross" and kwargs.get("ip_adapter_masks") is not None:
            raise ValueError(
                f"ip_adapter_masks are given to the cross-attention of {name}, whose queries are merged; "
                "leave 'cross' out of targets"
            )
