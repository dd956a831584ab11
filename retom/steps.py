"""The calls of a generation by number, and how many made plans.

`torch.compile` traces the counting, and a number that it counts up becomes an input of every graph, which CUDA graphs
then record again for each value. So the calls of a generation are made beforehand, each naming the next, and a step is
a step along them.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

LONGEST = 2048  # steps; a longer generation is taken for several


class Call:
    """One step of a generation.

    number: from 0; -1 stands before the first. refresh: whether plans are due. planned: how often they were due by
    then. next: the step after it.
    """

    def __init__(self, number: int, refresh: bool, planned: int, chain: bytes):
        self.number = number
        self.refresh = refresh
        self.planned = planned
        self.next = self
        self._chain = chain

    def __deepcopy__(self, memo: dict[int, Any]) -> "Call":
        """Calls never change: copies of a model share them, and no copy follows them to their end."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by its place: one call after the other would be a depth of thousands."""
        return _nth, (self._chain, self.number)


def calls(due: Callable[[int], bool]) -> Call:
    """What stands before the first step of a generation that plans at step 0 and where `due`."""
    return _chained(bytes(number == 0 or bool(due(number)) for number in range(LONGEST)))[0]


@functools.lru_cache(maxsize=64)
def _chained(refreshes: bytes) -> list[Call]:
    """The steps, one after the other, from what stands before the first; a byte of `refreshes` for each."""
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
    """A compiled generation that ended at a step, and those before it; the one before which None is counts for none."""

    last: Call
    before: "Ended | None"


class Tally:
    """How many calls of a compiled model made plans and how many reused them.

    Nothing is counted while a graph runs: the ended generations are added up when somebody asks.
    """

    def __init__(self, start: Call):
        self.start = start
        self.idle = self.now = _before(start)
        self.ended = Ended(start, None)
        self.counted = (0, 0)

    def begin(self) -> None:
        """Another generation begins."""
        self.ended, self.now = Ended(self.now, self.ended), self.start

    def rest(self) -> None:
        """A generation ends outside of any graph; it is added up, so that the list stays short."""
        self.ended, self.now = Ended(self.now, self.ended), self.idle
        self.counts()

    def count(self) -> None:
        """Another call of the generation."""
        self.now = self.now.next

    def counts(self) -> tuple[int, int]:
        """Calls that made plans and calls that reused them."""
        computed, reused = self.counted
        while self.ended.before is not None:
            computed, reused = _added(computed, reused, self.ended.last)
            self.ended = self.ended.before
        self.counted = (computed, reused)
        return _added(computed, reused, self.now)


def _before(start: Call) -> Call:
    """What `start` is, as another object, so that graphs guarded by which one it is serve the first generation too."""
    other = Call(start.number, start.refresh, start.planned, start._chain)
    other.next = start.next
    return other


def _added(computed: int, reused: int, last: Call) -> tuple[int, int]:
    return computed + last.planned, reused + last.number + 1 - last.planned
