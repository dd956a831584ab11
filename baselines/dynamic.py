"""ReToM with ratio and window scheduled over steps: constant, linear, cosine, or off at first.

A schedule has a few levels of equal length, and similarity is computed again at the start of each level. So the number
of tokens left changes a few times per generation and not at every step. `torch.compile` makes two graphs for every
level in the first generation: one for its first step and one for the others. With more than four levels that exceeds
torch's limit of 8 (`torch._dynamo.config.recompile_limit`). The benchmark raises this limit. If you use only the
method, raise it yourself.
"""

import dataclasses
import math
from dataclasses import dataclass, field

from torch import Tensor

from baselines.parts.checks import check_integers
from retom.checks import check_choice
from retom.method import ReToM, SiteContext, TokenMerger
from retom.plans.merge_plan import MergePlan

SCHEDULES = {
    "constant": lambda t: 0.0,
    "linear": lambda t: t,
    "cosine": lambda t: (1 - math.cos(math.pi * t)) / 2,
}


@dataclass(frozen=True)
class Dynamic(TokenMerger):
    """ReToM with options that change from those of `start` to those of `end`.

    Attributes:
        start: ReToM at the first level. Its period is not used: a level is one period.
        end: ReToM at the last level, which may differ from `start` only in ratio and window; None is the same as
            `start`.
        schedule: "constant" (all levels as `start`), "linear" or "cosine" (slow at both ends).
        levels: number of levels; a generation with fewer denoiser calls has one level for each.
        steps: number of denoiser calls over which the levels are spread; further calls use the last level.
        off_levels: number of levels at the start that merge nothing.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    start: ReToM = field(default_factory=ReToM)
    end: ReToM | None = None
    schedule: str = "linear"
    levels: int = 5
    steps: int = 50
    off_levels: int = 0

    def __post_init__(self):
        check_integers(self, levels=1, steps=1, off_levels=0)
        levels = min(self.levels, self.steps)
        if self.off_levels >= levels:
            raise ValueError(f"off_levels must be less than levels = {levels}, got {self.off_levels}")
        check_choice("schedule", self.schedule, SCHEDULES)
        end = self.start if self.end is None else self.end
        for name, value in (("start", self.start), ("end", end)):
            if not isinstance(value, ReToM):
                raise ValueError(f"{name} must be a ReToM, got {value!r}")
        if dataclasses.replace(end, ratio=self.start.ratio, window=self.start.window) != self.start:
            raise ValueError("start and end must be ReToM with the same options except for ratio and window")
        # The attributes that hooks read and the levels are set here, so that a compiled model creates nothing.
        for name in ("metric", "targets", "share_plan", "max_downsample"):
            object.__setattr__(self, name, getattr(self.start, name))
        object.__setattr__(self, "period", math.ceil(self.steps / levels))
        stages = tuple(self._stage(SCHEDULES[self.schedule](n / max(levels - 1, 1)), end) for n in range(levels))
        object.__setattr__(self, "stages", stages)

    @property
    def merges(self) -> bool:
        """Whether any level that is on merges tokens."""
        return any(stage.merges for stage in self.stages[self.off_levels :])

    def plan(self, metric: Tensor, grid: tuple[int, int], context: SiteContext) -> MergePlan | None:
        """Plan as ReToM of the current level; None on a level that is off."""
        level = self._level(context.step)
        return None if level < self.off_levels else self.stages[level].plan(metric, grid, context)

    def due(self, step: int) -> bool:
        """Whether a level starts at this step."""
        return step == 0 or self._level(step) != self._level(step - 1)

    def _level(self, step: int) -> int:
        return min(step * len(self.stages) // self.steps, len(self.stages) - 1)

    def _stage(self, share: float, end: ReToM) -> ReToM:
        ratio = _between(self.start.ratio, end.ratio, share)
        window = self._window(end, share)
        return dataclasses.replace(self.start, ratio=ratio, window=window)

    def _window(self, end: ReToM, share: float) -> int | dict[str, int]:
        """Interpolated sides, rounded; by layer type if one of the two is."""
        first, last = self.start.window, end.window
        if isinstance(first, int) and isinstance(last, int):
            return round(_between(first, last, share))
        pairs = {
            layer_type: [window if isinstance(window, int) else window[layer_type] for window in (first, last)]
            for layer_type in ("down", "mid", "up")
        }
        return {layer_type: round(_between(*pair, share)) for layer_type, pair in pairs.items()}


def _between(first: float, last: float, share: float) -> float:
    # Rounded, so that a ratio is a short decimal: it is read as one when tokens are counted.
    return round(first + share * (last - first), 6)
