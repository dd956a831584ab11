"""How a time budget is shared: among consecutive stages, and among the methods of one cell."""

import dataclasses
import time
from collections.abc import Sequence

from eval.errors import RunError


class NoTimeLeftError(RunError):
    """A method was not measured because the time was up: its row is missing, not failed."""


def allotted(shares: Sequence[float], left: float) -> float:
    """Seconds of the `left` ones that the first of the remaining stages may use, by their shares.

    Time that a stage does not use remains in `left` for the stages after it.
    """
    return left * shares[0] / sum(shares)


@dataclasses.dataclass(frozen=True)
class Limit:
    """The deadline of a cell.

    until: reading of time.monotonic. least: minimum rounds per method; a method for which they do not fit is left out,
    so that the others get them.
    """

    until: float
    least: int = 5

    @property
    def left(self) -> float:
        """Remaining seconds, at least 0."""
        return max(self.until - time.monotonic(), 0.0)


class Allowance:
    """Admits the methods of one cell in order, then rounds of all admitted methods, as long as they fit.

    The time of a method is not known in advance: it is estimated by the slowest one so far. The first method is always
    admitted. Without a limit everything fits.
    """

    def __init__(self, limit: Limit | None) -> None:
        self._limit = limit
        self._warmup = self._slowest = self._round = 0.0

    def check(self) -> None:
        """NoTimeLeftError if the next method would not fit with the minimum rounds."""
        if self._limit is None:
            return
        needed = self._warmup + self._limit.least * (self._round + self._slowest)
        if self._limit.left <= needed:
            raise NoTimeLeftError(f"not measured: about {needed:.1f} s were needed, {self._limit.left:.1f} s were left")

    def admitted(self, warmup: float, call: float) -> None:
        """Record the time of an admitted method: its warm-up, and the last call of it."""
        self._warmup = max(self._warmup, warmup)
        self._slowest = max(self._slowest, call)
        self._round += call

    @property
    def has_another_round(self) -> bool:
        """Whether one more call of every admitted method fits."""
        return self._limit is None or self._limit.left > self._round
