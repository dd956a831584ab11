"""How a number of minutes is shared: among stages that follow each other, and among the methods of one cell."""

import dataclasses
import time
from collections.abc import Sequence

from eval.errors import RunError


class NoTimeLeftError(RunError):
    """A method was not measured because the time was up: its row is missing, it has not failed."""


def allotted(shares: Sequence[float], left: float) -> float:
    """Seconds that the first of the stages still to come may take of the `left` ones, by their shares.

    What a stage does not use is in `left` when the next one is asked about, so that all following stages gain.
    """
    return left * shares[0] / sum(shares)


@dataclasses.dataclass(frozen=True)
class Limit:
    """Until when a cell must be measured.

    until: reading of time.monotonic. least: rounds that every method gets; a method for which they do not fit is left
    out, so that the others have them.
    """

    until: float
    least: int = 5

    @property
    def left(self) -> float:
        """Seconds that are left, at least 0."""
        return max(self.until - time.monotonic(), 0.0)


class Allowance:
    """Admits the methods of one cell in their order, and rounds of all admitted ones, as long as they fit.

    What a method will take is not known before: it is taken to need as long as the slowest one so far. The first one
    is always admitted. Without a limit everything fits.
    """

    def __init__(self, limit: Limit | None) -> None:
        self._limit = limit
        self._warmup = self._slowest = self._round = 0.0

    def check(self) -> None:
        """NoTimeLeftError where the next method would not fit with the fewest rounds."""
        if self._limit is None:
            return
        needed = self._warmup + self._limit.least * (self._round + self._slowest)
        if self._limit.left <= needed:
            raise NoTimeLeftError(
                f"not measured: about {needed:.1f} s were needed and {self._limit.left:.1f} s were left"
            )

    def admitted(self, warmup: float, call: float) -> None:
        """Note what an admitted method took: its whole warm-up, and the last call of it."""
        self._warmup = max(self._warmup, warmup)
        self._slowest = max(self._slowest, call)
        self._round += call

    @property
    def has_another_round(self) -> bool:
        """Whether one more call of every admitted method fits."""
        return self._limit is None or self._limit.left > self._round
