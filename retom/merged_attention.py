"""Merging in any attention: a wrapper around a module that maps tokens to tokens, which needs no diffusers model."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from retom.backends import check_backend
from retom.checks import check_choice, check_integer
from retom.method import SiteContext, TokenMerger, chosen_method
from retom.plans.base import Plan
from retom.plans.checks import check_returned
from retom.plans.windows import LAYER_TYPES
from retom.rng import as_seeds
from retom.state.rows import Rows

GridOf = tuple[int, int] | Callable[[Tensor], tuple[int, int]]


class MergedAttention(nn.Module):
    """Self-attention on fewer tokens: merges them, calls `module` and unmerges its output.

    Args:
        module: any `module(x [B, P + N, C]) -> [B, P + N, C]` whose output at a token belongs to that token, such as
            the attention of a vision transformer. It must not need the positions of tokens.
        method: the method that plans the merges; if None, a `ReToM` with `options`.
        grid: (H, W) with H * W = N, the tokens row by row; or a function from x to it, if it differs between calls.
        prefix: number of tokens at the front that are left alone, P: a class token, registers.
        backend: how plans are executed, "gather", "matmul" or "triton".
        layer: number of this attention in your model, so that random choices differ between layers.
        layer_type: "down", "mid" or "up", for windows that differ between them.
        options: fields of `ReToM`, such as `ratio=0.5`; not together with `method`.

    Plans are made anew in every call. In a denoising loop, call `reset` before each generation: its calls are then the
    steps of one generation, and plans are reused for the `period` of the method.

    Parameters are those of `module`, under the name "module". A wrapper sees the tokens that its module gets. Methods
    that measure similarity on the input of the block (metric "block_input") measure it on these, too.

    Raises:
        ValueError: if an option is invalid, or the method needs what a wrapper does not have: keys, other
            sub-layers, branches of guidance or the denoiser's output.
    """

    def __init__(
        self,
        module: nn.Module,
        method: TokenMerger | None = None,
        *,
        grid: GridOf,
        prefix: int = 0,
        backend: str = "gather",
        layer: int = 0,
        layer_type: str = "down",
        **options: Any,
    ) -> None:
        super().__init__()
        self.method = chosen_method(method, options)
        _check(self.method, prefix, layer_type)
        check_backend(backend)
        self.module, self.grid, self.prefix, self.backend = module, grid, prefix, backend
        self.layer, self.layer_type = layer, layer_type
        self._seeds: Tensor | None = None
        self._stepping = False  # whether calls are steps of a generation
        self._report: dict[str, Any] = {
            "grid": None, "tokens": None, "merged": None, "plans_computed": 0, "plans_reused": 0
        }  # fmt: skip
        self._begin()

    def reset(self) -> None:
        """Start a generation: the next calls are its steps, from 0."""
        self._stepping = True
        self._begin()

    def set_seeds(self, seeds: Sequence[int]) -> None:
        """Set one seed per image, for methods with random choices; they apply until others are set.

        The rows of a batch are its images, repeated branch by branch if there are several branches of guidance.

        Raises:
            ValueError: if the seeds are not integers in [-2**63, 2**63).
        """
        self._seeds = as_seeds(seeds)

    def report(self) -> dict[str, Any]:
        """What the wrapper did so far: the keys of `retom.report` without those about the site."""
        return dict(self._report)

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Call the module on merged tokens.

        Args:
            x: [B, P + N, C].
            args, kwargs: further arguments of the module, which must not be about tokens.

        Raises:
            ValueError: if x does not have the tokens of the grid, or another argument has as many entries as tokens.
        """
        tokens = x[:, self.prefix :]  # [B, N, C]
        grid = self._grid_of(x)
        _check_others(x, tokens, args, kwargs)
        plan = self._plan_for(tokens, grid)
        if plan is None or plan.is_identity:
            output: Tensor = self.module(x, *args, **kwargs)
            return output
        merged = plan.merge(tokens)
        out = self.module(torch.cat([x[:, : self.prefix], merged], dim=1) if self.prefix else merged, *args, **kwargs)
        _check_output(out, self.prefix + plan.num_merged)
        unmerged = plan.unmerge(out[:, self.prefix :])
        return torch.cat([out[:, : self.prefix], unmerged], dim=1) if self.prefix else unmerged

    def _begin(self) -> None:
        self._step = 0
        self._plan: Plan | None = None
        self._key: tuple[Any, ...] | None = None
        self._memory: dict[str, Any] = {}

    def _grid_of(self, x: Tensor) -> tuple[int, int]:
        height, width = self.grid(x) if callable(self.grid) else self.grid
        if height * width + self.prefix != x.shape[1]:
            raise ValueError(
                f"grid must have the tokens of x {list(x.shape)} after a prefix of {self.prefix}, got "
                f"{height} x {width} = {height * width}"
            )
        return height, width

    def _plan_for(self, tokens: Tensor, grid: tuple[int, int]) -> Plan | None:
        """The plan of this call: a new one, or that of an earlier step of the generation."""
        if not self._stepping:
            self._begin()
        key = (grid, tokens.shape[0], tokens.dtype, tokens.device)
        due = key != self._key or self._step == 0 or self.method.due(self._step)
        if due:
            self._memory = {} if key != self._key else self._memory
            self._plan, self._key = self._planned(tokens, grid), key
        self._count(tokens, grid, made=due)
        self._step += 1
        return self._plan

    def _planned(self, tokens: Tensor, grid: tuple[int, int]) -> Plan | None:
        images = None if self._seeds is None else self._seeds.shape[0]
        rows = Rows.of(tokens.shape[0], 1, images)
        context = SiteContext(
            seeds=rows.seeds(self._seeds, tokens.device),
            name=type(self.module).__name__,
            layer=self.layer,
            layer_type=self.layer_type,
            downsample=1,
            step=self._step,
            backend=self.backend,
            memory=self._memory,
            rows=rows,
        )
        plan = self.method.plan(tokens, grid, context)
        if plan is None:
            return None
        check_returned(plan, tokens, self.method, context.name)
        return plan.on(self.backend)

    def _count(self, tokens: Tensor, grid: tuple[int, int], *, made: bool) -> None:
        merged = tokens.shape[1] if self._plan is None else self._plan.num_merged
        self._report |= {"grid": list(grid), "tokens": tokens.shape[1], "merged": merged}
        self._report["plans_computed" if made else "plans_reused"] += 1


def _check(method: TokenMerger, prefix: int, layer_type: str) -> None:
    """ValueError for a method that needs more than tokens."""
    name = type(method).__name__
    if method.metric == "keys":
        raise ValueError(f"metric of {name} must be 'attn_input' or 'block_input' in a MergedAttention, got 'keys'")
    wanted: Mapping[str, tuple[object, object]] = {
        "targets": (tuple(method.targets), ("self",)),
        "needs_output": (method.needs_output, False),
        "branches": (method.branches, None),
    }
    for option, (found, allowed) in wanted.items():
        if found != allowed:
            raise ValueError(f"{option} of {name} must be {allowed!r} in a MergedAttention, got {found!r}")
    check_integer("prefix", prefix, 0)
    check_choice("layer_type", layer_type, LAYER_TYPES)


def _check_others(x: Tensor, tokens: Tensor, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """ValueError for an argument with as many entries as there are tokens: a mask or positions."""
    counts = {x.shape[1], tokens.shape[1]} - {1}
    for name, value in [*((f"number {place + 2}", value) for place, value in enumerate(args)), *kwargs.items()]:
        if isinstance(value, Tensor) and value is not x and not counts.isdisjoint(value.shape):
            raise ValueError(
                f"argument {name} of shape {list(value.shape)} seems to be about the {x.shape[1]} tokens (a mask, "
                "positions), which merged tokens do not match; call the module without it, or merge by hand: "
                "retom.merge_plan"
            )


def _check_output(out: object, tokens: int) -> None:
    if not isinstance(out, Tensor) or out.ndim != 3 or out.shape[1] != tokens:
        found = list(out.shape) if isinstance(out, Tensor) else type(out).__name__
        raise ValueError(f"the module must return [B, {tokens}, C] for {tokens} tokens, got {found}")
