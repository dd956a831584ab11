"""What a merging method is, and ReToM as one."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from retom.checks import as_tuple, check_choice, check_flag, check_integer
from retom.plan import MergePlan, check_options, merge_plan
from retom.plan_base import Plan
from retom.rows import Rows
from retom.windows import check_window

METRICS = ("attn_input", "block_input", "keys")
TARGETS = ("self", "self_kv", "cross", "ff")


@dataclass(frozen=True)
class SiteContext:
    """Where and when a plan is asked for.

    Attributes:
        name: the block's name in the model.
        layer: number of the site in the model, from 0.
        layer_type: "down", "mid" or "up" in a U-Net; "down" throughout in a transformer, whose grid never shrinks.
        downsample: how many times coarser than the model's top level the grid of this call is, 1 at the top.
        step: denoiser call within the generation, from 0.
        seeds: image seed of every row of the batch, [B] int64; both halves of guidance have the same.
        backend: how the plan will be executed; a method may plan with it or leave that to `MergePlan.on`.
        memory: a dict of the site's own, for what a method keeps over steps; empty at the start of every generation and
            where the grid or the batch is another. Calls at one place of every step share one.
        output: what the denoiser returned at the step before, [B, ...], frames of videos as rows; None at step 0 and
            for methods without `needs_output`.
        rows: which image, branch of guidance and frame each row is; None in a context made by hand.
    """

    name: str
    layer: int
    layer_type: str
    downsample: int
    step: int
    seeds: Tensor
    backend: str = "gather"
    memory: dict[str, Any] = field(default_factory=dict)
    output: Tensor | None = None
    rows: Rows | None = None


class TokenMerger(abc.ABC):
    """A merging method: a frozen dataclass with a `plan`. The class attributes are defaults a method may override.

    Attributes:
        metric: what `plan` is given, "attn_input" (after the norm), "block_input" (before it) or "keys" (the attention
            input through the self-attention's key projection, which then runs once more).
        targets: the sub-layers that run on merged tokens: "self", or "self_kv" (keys and values alone), "cross", "ff".
        period: `plan` is asked every so many denoiser calls, and its answer reused in between; or see `due`.
        share_plan: the blocks of one transformer, which have the same grid, all use the plan of the first.
        max_downsample: grids coarser than this are left alone; None merges at every depth.
        needs_output: keep the denoiser's last output for `SiteContext.output`.
        branches: how many stacked branches of guidance the method can work on, where it compares them; None: any.
        batch_limit: images of one call up to which an image is a function of its own seed alone; None: any number.
    """

    metric: str = "attn_input"
    targets: tuple[str, ...] = ("self",)
    period: int = 1
    share_plan: bool = False
    max_downsample: int | None = None
    needs_output: bool = False
    branches: tuple[int, ...] | None = None
    batch_limit: int | None = None

    @abc.abstractmethod
    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> Plan | None:
        """Plan one site at one step from metric [B, N, C] over grid (H, W); None leaves the site alone."""

    def due(self, step: int) -> bool:
        """Whether `plan` is asked at a denoiser call (from 0, of its generation); it is asked at 0 whatever this says.

        All steps are asked about when the method is put on a model.
        """
        return step % self.period == 0

    def check_model(self, denoiser: nn.Module) -> None:  # noqa: B027 - most methods serve every model with sites
        """ValueError for a denoiser, which has sites for all targets, that the method still cannot serve."""

    def reaches(self, downsample: int) -> bool:
        """Whether the method merges at sites whose grid is `downsample` times coarser than the model's top level."""
        return self.max_downsample is None or downsample <= self.max_downsample

    @property
    def cycle(self) -> int:
        """Denoiser calls after which what planning costs repeats; timings cover whole cycles."""
        return self.period

    @property
    def merges(self) -> bool:
        """Whether a run with these options must merge something; the harness fails a run that then merges nothing."""
        return getattr(self, "ratio", 1) > 0


def check_merger(method: TokenMerger) -> None:
    """ValueError where the attributes every method has are not what hooks can honour."""
    if not isinstance(method, TokenMerger):
        raise ValueError(f"method must be a retom.TokenMerger, got {type(method).__name__}")
    check_choice("metric", method.metric, METRICS)
    targets = method.targets
    known = isinstance(targets, tuple | list) and all(target in TARGETS for target in targets)
    if not known or not targets or len(set(targets)) != len(targets):
        raise ValueError(f"targets must be a choice of {', '.join(TARGETS)}, each at most once, got {targets!r}")
    if method.metric == "keys" and not {"self", "self_kv"} & set(targets):
        raise ValueError(f"metric='keys' needs 'self' or 'self_kv' in targets, whose keys they are, got {targets!r}")
    if {"self", "self_kv"} <= set(targets):
        raise ValueError(f"targets must hold 'self' or 'self_kv', not both, got {targets!r}")
    check_integer("period", method.period, 1)
    check_flag("share_plan", method.share_plan)
    check_flag("needs_output", method.needs_output)
    coarsest = method.max_downsample
    if coarsest is not None and (isinstance(coarsest, bool) or not isinstance(coarsest, int) or coarsest < 1):
        raise ValueError(f"max_downsample must be None or at least 1, got {coarsest!r}")


@dataclass(frozen=True)
class ReToM(TokenMerger):
    """Local representative token guided merging (arXiv 2507.12771).

    Attributes:
        ratio: share of tokens removed before attention, R in [0, 1).
        window: side of a window in tokens, one int or one for each of down, mid and up (the adaptive window).
        alpha: weight of the destination in the merged token, in [0, 1] (Eq. 2).
        period: similarity is measured anew every so many denoiser calls, p >= 1.
        destination: "representative", "least" or "random".
        source: "average" (Algorithm 1) or "destination".
        metric: what similarity is measured on, "attn_input" (after the norm), "block_input" (before it) or "keys".
        targets: the sub-layers that run on merged tokens, of "self", "cross", "ff"; "self_kv" instead of "self" merges
            keys and values alone, so that queries stay whole and nothing is unmerged.
        max_downsample: leave grids coarser than this alone; None merges at every depth.
        share_plan: the blocks of one transformer, which have the same grid, all use the plan of the first.
        similarity: "cosine" (Eq. 1), "dot" product, "l2" (negative squared distance) or "pearson" (over channels).

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    ratio: float = 0.5
    window: int | Mapping[str, int] = field(default_factory=lambda: {"down": 2, "mid": 8, "up": 2}, hash=False)
    alpha: float = 0.5
    period: int = 20
    destination: str = "representative"
    source: str = "average"
    metric: str = "attn_input"
    targets: tuple[str, ...] = ("self",)
    max_downsample: int | None = None
    share_plan: bool = False
    similarity: str = "cosine"

    def __post_init__(self) -> None:
        names = ("ratio", "alpha", "destination", "source", "similarity")
        check_options(**{name: getattr(self, name) for name in names})
        object.__setattr__(self, "window", check_window(self.window))
        object.__setattr__(self, "targets", as_tuple(self.targets))
        check_merger(self)

    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan | None:
        """See `retom.merge_plan`; None below `max_downsample`."""
        if not self.reaches(context.downsample):
            return None
        window = self.window if isinstance(self.window, int) else self.window[context.layer_type]
        # Looked at only where it is needed: `torch.compile` makes a graph for every value of what it looked at.
        draw = (
            {name: getattr(context, name) for name in ("seeds", "step", "layer")}
            if self.destination == "random"
            else {}
        )
        return merge_plan(
            metric,
            grid,
            window=window,
            ratio=self.ratio,
            alpha=self.alpha,
            destination=self.destination,
            source=self.source,
            backend=context.backend,
            similarity=self.similarity,
            **draw,
        )
