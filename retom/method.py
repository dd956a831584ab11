"""The interface of merging methods, and ReToM."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from retom.checks import as_tuple, check_choice, check_flag, check_integer
from retom.plans.base import Plan
from retom.plans.merge_plan import MergePlan, check_options, merge_plan
from retom.plans.windows import check_window
from retom.state.rows import Rows

METRICS = ("attn_input", "block_input", "keys")
TARGETS = ("self", "self_kv", "cross", "ff")


@dataclass(frozen=True)
class SiteContext:
    """The site and the step that a plan is requested for.

    Attributes:
        name: the block's name in the model.
        layer: number of the site in the model, from 0.
        layer_type: "down", "mid" or "up" in a U-Net; always "down" in a transformer, whose grid never shrinks.
        downsample: by which factor the grid of this call is coarser than the model's top level, 1 at the top.
        step: number of the denoiser call in the generation, from 0.
        seeds: image seed of every row of the batch, [B] int64; both halves of guidance have the same.
        backend: the backend that will execute the plan; a method may pass it on or leave that to `MergePlan.on`.
        memory: a dict for what a method stores between steps. Each site has its own for every call sequence. It is
            emptied at the start of a generation and when the grid or the batch changes.
        output: what the denoiser returned at the previous step, [B, ...], frames of videos as rows; None at step 0 and
            for methods without `needs_output`.
        rows: the image, the branch of guidance and the frame of each row; None in a context made by hand.
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
    """A merging method: a frozen dataclass with a method `plan`. Subclasses may override the class attributes.

    Attributes:
        metric: the input of `plan`, "attn_input" (after the norm), "block_input" (before it) or "keys" (the attention
            input through the key projection of the self-attention, which then runs one more time).
        targets: the sub-layers that run on merged tokens: "self", or "self_kv" (keys and values only), "cross", "ff".
        period: number of denoiser calls after which `plan` is called again; its result is reused in between. See `due`.
        share_plan: whether all blocks of one transformer, which have the same grid, use the plan of the first.
        max_downsample: sites with coarser grids are not merged; None merges at every depth.
        needs_output: whether to store the last output of the denoiser for `SiteContext.output`.
        branches: numbers of stacked guidance branches that the method supports, if it compares them; None: any.
        batch_limit: images per call up to which an image depends only on its own seed; None: any number.
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
        """Plan one site at one step from metric [B, N, C] over grid (H, W); None does not merge the site."""

    def due(self, step: int) -> bool:
        """Whether `plan` is called at a step of a generation, from 0. It is always called at step 0.

        `apply_patch` calls this for all steps in advance.
        """
        return step % self.period == 0

    def check_model(self, denoiser: nn.Module) -> None:  # noqa: B027 - most methods support every model with sites
        """ValueError for a denoiser that has sites for all targets but that the method does not support."""

    def reaches(self, downsample: int) -> bool:
        """Whether the method merges sites whose grid is `downsample` times coarser than the model's top level."""
        return self.max_downsample is None or downsample <= self.max_downsample

    @property
    def cycle(self) -> int:
        """Denoiser calls after which the cost of planning repeats; timings cover complete cycles."""
        return self.period

    @property
    def merges(self) -> bool:
        """Whether a run with these options must merge tokens; if it merges none, the benchmark fails the run."""
        return getattr(self, "ratio", 1) > 0


def check_merger(method: TokenMerger) -> None:
    """ValueError if an attribute of the method has a value that the hooks do not support."""
    if not isinstance(method, TokenMerger):
        raise ValueError(f"method must be a retom.TokenMerger, got {type(method).__name__}")
    check_choice("metric", method.metric, METRICS)
    targets = method.targets
    known = isinstance(targets, tuple | list) and all(target in TARGETS for target in targets)
    if not known or not targets or len(set(targets)) != len(targets):
        raise ValueError(f"targets must be one or more of {', '.join(TARGETS)}, each at most once, got {targets!r}")
    if method.metric == "keys" and not {"self", "self_kv"} & set(targets):
        raise ValueError(f"metric='keys' needs 'self' or 'self_kv' in targets, got {targets!r}")
    if {"self", "self_kv"} <= set(targets):
        raise ValueError(f"targets must contain either 'self' or 'self_kv', not both, got {targets!r}")
    check_integer("period", method.period, 1)
    check_flag("share_plan", method.share_plan)
    check_flag("needs_output", method.needs_output)
    coarsest = method.max_downsample
    if coarsest is not None and (isinstance(coarsest, bool) or not isinstance(coarsest, int) or coarsest < 1):
        raise ValueError(f"max_downsample must be None or an integer of at least 1, got {coarsest!r}")


@dataclass(frozen=True)
class ReToM(TokenMerger):
    """Local representative token guided merging (arXiv 2507.12771).

    Attributes:
        ratio: share of tokens removed before attention, R in [0, 1).
        window: side of a window in tokens, one int or one for each of down, mid and up (the adaptive window).
        alpha: weight of the destination in the merged token, in [0, 1] (Eq. 2).
        period: number of denoiser calls after which similarity is computed again, p >= 1.
        destination: "representative", "least" or "random".
        source: "average" (Algorithm 1) or "destination".
        metric: what similarity is computed on, "attn_input" (after the norm), "block_input" (before it) or "keys".
        targets: the sub-layers that run on merged tokens, of "self", "cross", "ff". With "self_kv" instead of "self",
            only keys and values are merged: all queries are used and nothing is unmerged.
        max_downsample: sites with coarser grids are not merged; None merges at every depth.
        share_plan: whether all blocks of one transformer, which have the same grid, use the plan of the first.
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
        # Read only if needed: `torch.compile` makes a graph for every value that it read.
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


def chosen_method(method: TokenMerger | None, options: Mapping[str, Any]) -> TokenMerger:
    """The method, or a `ReToM` with these options if it is None; ValueError for both, or an unknown option."""
    if method is not None and options:
        raise ValueError(f"pass method or options of ReToM, not both: got method and {', '.join(sorted(options))}")
    unknown = sorted(set(options) - set(ReToM.__dataclass_fields__))
    if unknown:
        allowed = ", ".join(ReToM.__dataclass_fields__)
        raise ValueError(f"unknown option {unknown[0]!r} of ReToM; allowed are {allowed}")
    return ReToM(**options) if method is None else method
