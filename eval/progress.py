"""Progress of a long run: the current row and stage, and the estimated time left for all rows.

On a terminal it is a bar. Elsewhere, such as in the log of a Slurm job, it is one line per minute; a run of less than a
minute prints nothing.
"""

import contextlib
import logging
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

MINUTE = 60.0

_log = logging.getLogger(__name__)


class Progress:
    """The rows that one process works on, one after the other.

    enabled: False prints nothing, as in all processes of a launch but one. every: seconds between lines.
    """

    def __init__(
        self, *, enabled: bool = True, every: float = MINUTE, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.enabled = enabled
        self._every, self._clock = every, clock
        self._number, self._rows, self._name, self._waiting = 1, None, "", 0
        self._began = clock()
        self._spans: list[float] = []  # seconds of the rows that had something to do
        self._stage: Stage | None = None
        self._worked = False

    @contextlib.contextmanager
    def row(self, number: int, rows: int | None, name: str, *, alone: bool = False) -> Iterator[None]:
        """Context of row `number` (from 1) of `rows`, None if unknown.

        alone: this process works on no other row, as in a cluster job; the time left is then that of the row.
        """
        self._number, self._rows, self._name = number, rows, name
        self._waiting = 0 if alone or rows is None else rows - number
        self._began, self._stage = self._clock(), None
        self._worked = False
        with self._lines():
            yield
        if self._worked:
            self._spans.append(self._clock() - self._began)

    @contextlib.contextmanager
    def stage(self, what: str, total: int, done: int = 0, unit: str = "image") -> Iterator["Stage"]:
        """Context of a stage of the row, such as "generating": `total` images, of which `done` already exist."""
        before, self._stage = self._stage, Stage(self, what, total, done, unit)
        self._worked = True
        try:
            with self._stage.bar:
                yield self._stage
        finally:
            self._stage = before

    def head(self, what: str) -> str:
        """Position in the sweep: "row 3 of 8, table1/retom, generating"."""
        of = "" if self._rows is None else f" of {self._rows}"
        place = f"row {self._number}{of}" if self._rows != 1 else ""
        return ", ".join(part for part in (place, self._name, what) if part)

    def line(self) -> str | None:
        """The state in one line, or None before the first stage."""
        stage = self._stage
        if stage is None:
            return None
        return ", ".join([f"{self.head(stage.what)}: {stage.count()}", *([left] if (left := self.left()) else [])])

    def left(self) -> str | None:
        """Estimated time left by the pace so far, or None if there is none yet."""
        seconds = None if self._stage is None else self._stage.seconds_left()
        if seconds is None:
            return None
        whole = statistics.fmean(self._spans) if self._spans else self._clock() - self._began + seconds
        where = " in all rows" if self._waiting else ""
        return f"about {span(seconds + self._waiting * whole)} left{where}"

    @contextlib.contextmanager
    def _lines(self) -> Iterator[None]:
        if not self.enabled or sys.stderr.isatty():
            yield
            return
        over = threading.Event()
        speaker = threading.Thread(target=self._speak, args=(over,), daemon=True)
        speaker.start()
        try:
            yield
        finally:
            over.set()
            speaker.join()

    def _speak(self, over: threading.Event) -> None:
        while not over.wait(self._every):
            if line := self.line():
                _log.info("%s", line)


class Stage:
    """A stage of a row, counted in units. Thread-safe."""

    def __init__(self, progress: Progress, what: str, total: int, done: int, unit: str) -> None:
        self.what, self._unit = what, unit
        self._progress, self._total = progress, total
        self._done = self._before = done
        self._began, self._lock = progress._clock(), threading.Lock()
        silent = None if progress.enabled else True
        self.bar = tqdm(total=total, initial=done, unit=unit, desc=progress.head(what), disable=silent, leave=False)

    def update(self, count: int = 1) -> None:
        """Count `count` more units as done."""
        with self._lock:
            self._done += count
            if not self.bar.disable:
                self.bar.set_postfix_str(self._progress.left() or "", refresh=False)
            self.bar.update(count)

    def describe(self, what: str) -> None:
        """Name the current work, such as the network that scores."""
        if what != self.what:
            self.what = what
            self.bar.set_description(self._progress.head(what))

    def count(self) -> str:
        """Progress such as "412 of 2000 images"."""
        return f"{self._done} of {self._total} {self._unit}s"

    def seconds_left(self) -> float | None:
        """Time left of this stage, by its pace; None before the first unit."""
        made = self._done - self._before
        return (self._progress._clock() - self._began) / made * (self._total - self._done) if made else None


def span(seconds: float) -> str:
    """A duration in a suitable unit: 40 s, 12 min, 3.1 h, 2.5 days."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 48 * 3600 else f"{seconds / 86400:.1f} days"
