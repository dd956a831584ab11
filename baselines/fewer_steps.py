"""Fewer steps at equal time: the control that costs no code, nothing merged and part of the steps left out.

Which share of the steps costs what a method costs is measured, by `python -m scripts.equal_time method=retom`, kept in
the results' equal_time.json, and given here as a number: a run's images must not depend on how fast the machine was.
The run's own seconds stand in its record, beside the method's, so that everyone sees whether the times are equal.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baselines.adapter import Adapter
from retom.checks import check_number

_REPLACED = "set_timesteps"


@dataclass(frozen=True)
class FewerSteps(Adapter):
    """The pipeline's own scheduler, asked for fewer steps.

    Attributes:
        share: steps made, of those the sampler asks for, in (0, 1]; rounded to whole steps, at least one. The name of a
            method stands for a share that is still to be measured and cannot be applied.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    share: float | str = 0.5

    def __post_init__(self):
        if not isinstance(self.share, str):
            check_number("share", self.share, "(0, 1]")

    @property
    def merges(self) -> bool:
        """Never."""
        return False

    def steps(self, asked: int) -> int:
        """How many steps are made where `asked` are asked for. ValueError where the share is not measured."""
        if isinstance(self.share, str):
            raise ValueError(f"share must be a number, measured by python -m scripts.equal_time, got {self.share!r}")
        return max(1, int(asked * self.share + 0.5))

    def apply(self, pipe) -> int:
        """Shorten what the pipeline's scheduler is asked for. No site; the scheduler notes what was left out."""
        self.steps(1)
        scheduler = getattr(pipe, "scheduler", None)
        if scheduler is None:
            raise ValueError(f"fewer steps are for pipelines with a scheduler, got {type(pipe).__name__}")
        if _REPLACED in vars(scheduler):
            raise ValueError("the scheduler is patched already; remove that patch first")
        original = scheduler.set_timesteps

        def set_timesteps(num_inference_steps: int | None = None, *args: Any, **kwargs: Any) -> None:
            if num_inference_steps is None:
                raise ValueError("fewer steps need a number of inference steps; timesteps or sigmas were given instead")
            original(self.steps(num_inference_steps), *args, **kwargs)

        scheduler.set_timesteps = set_timesteps
        return 0

    def remove(self, pipe) -> None:
        """The scheduler's own method again; a pipeline without the patch is left as it is."""
        vars(pipe.scheduler).pop(_REPLACED, None)

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Nothing is random."""

    def report(self, pipe) -> list[dict[str, Any]]:
        """No site, no line."""
        return []
