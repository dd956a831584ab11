"""The baseline: no merging. Every other method is compared with it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baselines.adapter import Adapter


@dataclass(frozen=True)
class Unmerged(Adapter):
    """The baseline, which does not change the pipeline."""

    @property
    def merges(self) -> bool:
        """False."""
        return False

    def apply(self, pipe) -> int:
        """Do nothing. Returns 0 sites."""
        return 0

    def remove(self, pipe) -> None:
        """Do nothing."""

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Nothing is random."""

    def report(self, pipe) -> list[dict[str, Any]]:
        """Empty: there are no sites."""
        return []
