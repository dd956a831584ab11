"""A clock that only `sleep` moves, so that tests of timing depend on no machine."""

import pytest

from eval.speed.bench import budget, interleave


class Clock:
    """Stands for the module `time`."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.now += seconds

    def monotonic(self) -> float:
        """The seconds slept so far."""
        return self.now

    perf_counter = monotonic


def with_fake_clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock that the bench goes by until the test ends."""
    clock = Clock()
    for module in (budget, interleave):
        monkeypatch.setattr(module, "time", clock)
    return clock
