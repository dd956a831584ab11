"""The numbered calls of a generation, and the counts of calls that made plans.

`torch.compile` traces counting. A counter would become an input of every graph, and CUDA graphs would be recorded again
for each of its values. Therefore the calls of a generation are created in advance as a linked list, and counting moves
along it.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

LONGEST = 2048  # steps; a longer generation counts as several


class Call:
    """One step of a generation.

    number: from 0; -1 comes before the first. refresh: whether plans are due. planned: how often they were due so
    far. next: the next step.
    """

    def __init__(self, number: int, refresh: bool, planned: int, chain: bytes):
        self.number = number
        self.refresh = refresh
        self.planned = planned
        self.next = self
        self._chain = chain

    def __deepcopy__(self, memo: dict[int, Any]) -> "Call":
        """Calls never change, so copies of a model share them."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by position: pickling the list would recurse thousands of times."""
        return _nth, (self._chain, self.number)


def calls(due: Callable[[int], bool]) -> Call:
    """The call before the first step of a generation that plans at step 0 and at the steps that are `due`."""
    return _chained(bytes(number == 0 or bool(due(number)) for number in range(LONGEST)))[0]


@functools.lru_cache(maxsize=64)
def _chained(refreshes: bytes) -> list[Call]:
    """All calls in order, from the one before the first step; `refreshes` has a byte for each step."""
    chain = [Call(-1, True, 0, refreshes)]
    for number, refresh in enumerate(refreshes):
        chain.append(Call(number, bool(refresh), chain[-1].planned + refresh, refreshes))
        chain[-2].next = chain[-1]
    chain[-1].next = chain[1]
    return chain


def _nth(refreshes: bytes, number: int) -> Call:
    return _chained(refreshes)[number + 1]


@dataclasses.dataclass(eq=False)
class Ended:
    """A finished compiled generation and those before it. The one without `before` only ends the list."""

    last: Call
    before: "Ended | None"


class Tally:
    """How many calls of a compiled model made plans and how many reused them.

    Nothing is counted while a graph runs. Finished generations are summed when the counts are read.
    """

    def __init__(self, start: Call):
        self.start = start
        self.idle = self.now = _before(start)
        self.ended = Ended(start, None)
        self.counted = (0, 0)

    def begin(self) -> None:
        """Start another generation."""
        self.ended, self.now = Ended(self.now, self.ended), self.start

    def rest(self) -> None:
        """End a generation outside of any graph and sum the counts, so that the list stays short."""
        self.ended, self.now = Ended(self.now, self.ended), self.idle
        self.counts()

    def count(self) -> None:
        """Count a call of the generation."""
        self.now = self.now.next

    def counts(self) -> tuple[int, int]:
        """How many calls made plans, and how many reused them."""
        computed, reused = self.counted
        while self.ended.before is not None:
            computed, reused = _added(computed, reused, self.ended.last)
            self.ended = self.ended.before
        self.counted = (computed, reused)
        return _added(computed, reused, self.now)


def _before(start: Call) -> Call:
    """A copy of `start`, so that graphs guarded by its identity also serve the first generation."""
    other = Call(start.number, start.refresh, start.planned, start._chain)
    other.next = start.next
    return other


def _added(computed: int, reused: int, last: Call) -> tuple[int, int]:
    return computed + last.planned, reused + last.number + 1 - last.planned
