"""Fewer steps at equal time: the simplest control. It merges nothing and skips part of the steps.

`python -m scripts.equal_time method=retom` measures the share of steps that takes as long as a method and stores it in
equal_time.json of the results. It is passed here as a number, since the images of a run must not depend on the speed of
the machine. The time per image of the run is in its record, next to that of the method, so the two can be compared.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from baselines.adapter import Adapter
from retom.checks import check_number

_REPLACED = "set_timesteps"


@dataclass(frozen=True)
class FewerSteps(Adapter):
    """The scheduler of the pipeline, with fewer steps.

    Attributes:
        share: share of the requested steps, in (0, 1]; rounded to an integer number of steps, at least one. The name of
            a method stands for a share that is not measured yet and cannot be applied.

    Raises:
        ValueError: with the name, the value and what is allowed.
    """

    share: float | str = 0.5

    def __post_init__(self):
        if not isinstance(self.share, str):
            check_number("share", self.share, "(0, 1]")

    @property
    def merges(self) -> bool:
        """False."""
        return False

    def steps(self, asked: int) -> int:
        """The number of steps if `asked` are requested. ValueError if the share is not measured."""
        if isinstance(self.share, str):
            raise ValueError(f"share must be a number, measured by python -m scripts.equal_time, got {self.share!r}")
        return max(1, int(asked * self.share + 0.5))

    def sigmas(self, asked: Sequence[float]) -> np.ndarray:
        """The noise levels of a flow for fewer steps, evenly spread between the first one and the final 0.

        Of Flux's n levels 1 - i / n these are the k levels 1 - i / k that the pipeline itself gives for k steps.
        """
        levels, steps = [*asked, 0.0], self.steps(len(asked))
        return np.interp(np.arange(steps) * len(asked) / steps, np.arange(len(levels)), levels)

    def apply(self, pipe) -> int:
        """Reduce the steps requested from the scheduler. Returns 0 sites."""
        self.steps(1)
        scheduler = getattr(pipe, "scheduler", None)
        if scheduler is None:
            raise ValueError(f"fewer steps need a pipeline with a scheduler, got {type(pipe).__name__}")
        if _REPLACED in vars(scheduler):
            raise ValueError("the scheduler is patched already; remove that patch first")
        original = scheduler.set_timesteps

        @functools.wraps(original)  # pipelines look for `sigmas` in the signature
        def set_timesteps(
            num_inference_steps: int | None = None, *args: Any, sigmas: Any = None, **kwargs: Any
        ) -> None:
            if sigmas is not None:
                kwargs["sigmas"] = self.sigmas(sigmas)
            elif num_inference_steps is None:
                raise ValueError("fewer steps need a number of inference steps or sigmas, got timesteps")
            steps = None if num_inference_steps is None else self.steps(num_inference_steps)
            original(steps, *args, **kwargs)

        scheduler.set_timesteps = set_timesteps
        return 0

    def remove(self, pipe) -> None:
        """Restore the method of the scheduler. A pipeline without the patch is not changed."""
        vars(pipe.scheduler).pop(_REPLACED, None)

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Nothing is random."""

    def report(self, pipe) -> list[dict[str, Any]]:
        """Empty: there are no sites."""
        return []
