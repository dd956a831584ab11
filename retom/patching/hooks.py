"""The hooks of a patched model that count steps, read grids and plan. All hooks are `ModelHook`s of diffusers.

Hooks wrap `forward` on the instance (`retom.patching.registry`). No module is subclassed or copied, no attention
processor is replaced and no parameter is renamed, so LoRA, IP-Adapter, GLIGEN and `set_attn_processor` work as
without a patch.
"""

import operator
from typing import Any, overload

import torch
from torch import Tensor, nn

from retom.families import Family
from retom.patching.arguments import Arguments
from retom.patching.regional import check_graphs
from retom.patching.registry import Hook
from retom.patching.site_state import Grid, SitePatch
from retom.state.generation import Session
from retom.state.rows import by_row

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
        """Find the arguments of the denoiser."""
        self.arguments = Arguments(module)
        self.family = self.patches[0].site.family
        self.names = (
            self.arguments.first_of(*self.family.latents),
            self.family.timestep,
            self.family.text,
            self.family.marker or "",
        )
        return module

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> _Passed:
        """Count the call."""
        sample, *others = (self.arguments.get(name, args, kwargs) for name in self.names)
        generation = self.session.own
        begins = generation.advance(sample, *others)
        seeds = generation.seeds
        generation.rows = self.family.rows(module, sample, None if seeds is None else seeds.shape[0])
        generation.top = _fixed(self.family.top(sample))
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

    def __init__(self, grid: Grid, family: Family):
        super().__init__()
        self.grid = grid
        self.family = family
        self.marker: Tensor | None = None

    def initialize_hook(self, module: nn.Module) -> nn.Module:
        """Find the arguments of the parent."""
        self.arguments = Arguments(module)
        return module

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> _Passed:
        """Store the grid. It is read once from a marker, which is the same tensor throughout a generation."""
        marker = self.arguments.get(self.family.marker or "", args, kwargs)
        if marker is None or marker is not self.marker:
            self.grid.note(_fixed(self.family.grid(module, lambda name: self.arguments.get(name, args, kwargs))))
            self.marker = marker
        return args, kwargs


@overload
def _fixed(grid: None) -> None: ...
@overload
def _fixed(grid: tuple[int, int]) -> tuple[int, int]: ...
def _fixed(grid: tuple[int, int] | None) -> tuple[int, int] | None:
    """The grid as plain integers, one graph for each. Symbolic sizes of `torch.compile` cannot be tiled."""
    return None if grid is None else (operator.index(grid[0]), operator.index(grid[1]))


class PlanHook(Hook):
    """On a block: plans from the input of the block, for methods with metric "block_input"."""

    def __init__(self, patch: SitePatch):
        super().__init__()
        self.patch = patch

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> _Passed:
        """Plan if a plan is due."""
        self.patch.plan_for(args[0] if args else kwargs["hidden_states"])
        return args, kwargs
