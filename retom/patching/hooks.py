"""The hooks of a patched model, all `ModelHook`s of diffusers: one counts steps, one reads grids, the others merge.

Hooks wrap `forward` on the instance (`retom.patching.registry`). No module is subclassed or copied, no attention
processor is replaced and no parameter is renamed, so LoRA, IP-Adapter, GLIGEN and `set_attn_processor` work as
without a patch.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from retom.patching.arguments import Arguments
from retom.patching.processors import MapReader
from retom.patching.regional import check_graphs
from retom.patching.registry import Hook
from retom.patching.site_state import Grid, SitePatch
from retom.patching.sites import packed_grid, patch_size
from retom.plans.base import Plan
from retom.state.generation import Session
from retom.state.rows import by_row, rows_of

_Passed = tuple[tuple[Any, ...], dict[str, Any]]  # the arguments of a call


class StepHook(Hook):
    """On the denoiser: counts its calls and detects where a generation starts."""

    def __init__(self, session: Session, patches: list[SitePatch], store_output: bool):
        super().__init__()
        self.session = session
        self.store_output = store_output
        self.patches = patches
        self.warned = False

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Find the arguments of the denoiser, whose order differs between families."""
        self.arguments = Arguments(module)
        self.sample = self.arguments.first_of("sample", "hidden_states")
        self.levels = all(patch.site.parent is not module for patch in self.patches)
        return module

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> _Passed:
        """Count the call."""
        names = (self.sample, "timestep", "encoder_hidden_states", "img_ids")
        sample, *others = (self.arguments.get(name, args, kwargs) for name in names)
        generation = self.session.own
        begins = generation.advance(sample, *others)
        seeds = generation.seeds
        generation.rows = rows_of(module, sample, None if seeds is None else seeds.shape[0])
        generation.top = _fixed(*sample.shape[-2:]) if self.levels else None
        if torch.compiler.is_compiling():
            if begins:
                for patch in self.patches:
                    patch.begin_compiled()
            return args, kwargs
        self.session.latest = generation
        for patch in self.patches:
            if begins:
                patch.begin()
            patch.enter(generation.sequence.number)
        return args, kwargs

    def post_forward(self, module: nn.Module, output: Any) -> Any:
        """Count what the sites did, and store the output for methods that need it."""
        generation = self.session.own
        if self.store_output:
            if not isinstance(output[0], Tensor):
                raise ValueError(
                    f"the method needs the denoiser's prediction, but a {type(module).__name__} returns none; "
                    "apply the method to the U-Net or transformer"
                )
            generation.sequence.output = by_row(output[0].detach(), generation.rows)
        if not torch.compiler.is_compiling():
            with self.session.lock:
                for patch in self.patches:
                    patch.count()
            self.warned = self.warned or check_graphs(patch.site.block for patch in self.patches)
        return output


class GridHook(Hook):
    """On the denoiser and the parent of every site: reads the token grid from the arguments of the call."""

    def __init__(self, grid: Grid):
        super().__init__()
        self.grid = grid
        self.ids: Tensor | None = None

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Find the argument that has the grid: a feature map [B, C, H, W], or in Flux the ids of the packed tokens."""
        self.arguments = Arguments(module)
        self.source = self.arguments.first_of("img_ids", "sample", "hidden_states")
        self.side = patch_size(module)
        return module

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> _Passed:
        """Store the grid. Ids are read once, since they are the same tensor throughout a generation."""
        states = self.arguments.get(self.source, args, kwargs)
        if self.source != "img_ids":
            self.grid.note(_fixed(states.shape[-2] // self.side, states.shape[-1] // self.side))
        elif states is not self.ids:
            self.grid.note(_fixed(*packed_grid(states)))
            self.ids = states
        return args, kwargs


def _fixed(height: int, width: int) -> tuple[int, int]:
    """The grid as plain integers, one graph for each. Symbolic sizes of `torch.compile` cannot be tiled."""
    return operator.index(height), operator.index(width)


class PlanHook(Hook):
    """On a block: plans from the input of the block, for methods with metric "block_input"."""

    def __init__(self, patch: SitePatch):
        super().__init__()
        self.patch = patch

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> _Passed:
        """Plan if a plan is due."""
        self.patch.plan_for(args[0] if args else kwargs["hidden_states"])
        return args, kwargs


class MergeHook(Hook):
    """On a sub-layer: merge its tokens, run it, unmerge its output."""

    def __init__(self, patch: SitePatch, target: str, plans: bool):
        super().__init__()
        self.patch = patch
        self.target = target
        self.plans = plans

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Find the arguments of the sub-layer."""
        self.arguments = Arguments(module)
        self.map_reader = MapReader(module)
        return module

    def call(self, module: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """Run the sub-layer on merged tokens."""
        forward = self.under
        if self._runs_on_all_tokens(module, args, kwargs):
            return forward(*args, **kwargs)
        x = args[0] if args else kwargs["hidden_states"]
        self._check_settings(module)
        if self.plans:
            self.patch.plan_for(self._measured(module, x))
        plan = self.patch.plan
        if plan is None or plan.is_identity:
            return forward(*args, **kwargs)
        self._check(args, kwargs)
        self.patch.run_merged(self.target)
        if self.target == "self_kv":
            return forward(**{**self.arguments.named(args, kwargs), "encoder_hidden_states": plan.merge(x)})
        return plan.unmerge(self._run_merged(forward, plan, args, kwargs))

    @staticmethod
    def _run_merged(
        forward: Callable[..., Tensor], plan: Plan, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Tensor:
        """Run the sub-layer on merged tokens, which are freed before unmerging allocates memory."""
        if args:
            return forward(plan.merge(args[0]), *args[1:], **kwargs)
        return forward(**{**kwargs, "hidden_states": plan.merge(kwargs["hidden_states"])})

    def _measured(self, module: Any, x: Tensor) -> Tensor:
        """What the method measures similarity on: the input of the attention or its keys."""
        measured: Tensor = module.to_k(x) if self.patch.method.metric == "keys" else x
        return measured

    def _runs_on_all_tokens(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether this call needs all tokens, because of its processor or of the keys that it receives."""
        if self.map_reader.check(module):
            kind = type(module.processor).__name__
            self.patch.skip(self.target, f"its {kind} reads the attention map, which has one row per token")
            return True
        given = self.target == "self_kv" and self.arguments.get("encoder_hidden_states", args, kwargs) is not None
        if given:
            why = "it receives its own keys (encoder_hidden_states), which targets=('self_kv',) would replace"
            self.patch.skip(self.target, why)
        return given

    def _check_settings(self, module: nn.Module) -> None:
        """ValueError if the settings of the module do not work with merged tokens."""
        name = self.patch.site.name
        if self.target == "self_kv" and getattr(module, "fused_projections", False):
            raise ValueError(
                f"the projections of {name} are fused, but targets=('self_kv',) needs a separate one for keys; call "
                "unfuse_qkv_projections(), or use targets=('self',)"
            )
        if self.target == "ff" and getattr(self.patch.site.block, "_chunk_size", None):
            raise ValueError(
                f"the feed-forward of {name} runs in chunks, which does not work with merged tokens; call "
                "set_chunk_feed_forward(None), or remove 'ff' from targets"
            )

    def _check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """ValueError for masks, which do not match merged tokens."""
        name = self.patch.site.name
        if self.target.startswith("self") and self.arguments.get("attention_mask", args, kwargs) is not None:
            raise ValueError(
                f"attention_mask is passed to the self-attention of {name}, but a mask does not match merged tokens; "
                "call the model without a mask, or call retom.remove_patch first"
            )
        if self.target == "cross" and kwargs.get("ip_adapter_masks") is not None:
            raise ValueError(
                f"ip_adapter_masks are passed to the cross-attention of {name}, whose queries are merged; "
                "remove 'cross' from targets"
            )
