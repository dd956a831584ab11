"""No merging at all: the row every other one is compared with."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from baselines.adapter import Adapter


@dataclass(frozen=True)
class Unmerged(Adapter):
    """Leaves the pipeline alone."""

    @property
    def merges(self) -> bool:
        """Never."""
        return False

    def apply(self, pipe) -> int:
        """Touch nothing; no site."""
        return 0

    def remove(self, pipe) -> None:
        """Nothing to take off."""

    def set_seeds(self, pipe, seeds: Sequence[int]) -> None:
        """Nothing is random."""

    def report(self, pipe) -> list[dict[str, Any]]:
        """No site, no line."""
        return []
