"""Download progress: a bar on a terminal, otherwise one log line a minute."""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator

from tqdm import tqdm

EVERY = 60.0  # seconds between two lines

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def progress(name: str, arrived: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Yield a function that takes the number of new bytes. arrived: bytes already received; total: None if unknown."""
    if sys.stderr.isatty():
        with tqdm(desc=name, initial=arrived, total=total, unit="B", unit_scale=True, unit_divisor=1024) as bar:
            yield bar.update
        return
    lines = _Lines(name, arrived, total)
    yield lines.add


class _Lines:
    def __init__(self, name: str, arrived: int, total: int | None) -> None:
        self.name, self.arrived, self.total, self.said = name, arrived, total, time.monotonic()

    def add(self, count: int) -> None:
        self.arrived += count
        if time.monotonic() - self.said >= EVERY:
            self.said = time.monotonic()
            _log.info("%s: %s", self.name, so_far(self.arrived, self.total))


def so_far(arrived: int, total: int | None) -> str:
    """Progress as text, such as "120.0 MiB of 340.0 MiB (35%)"."""
    return f"{readable(arrived)} of {readable(total)} ({arrived / total:.0%})" if total else readable(arrived)


def readable(size: int) -> str:
    """A number of bytes in a suitable unit."""
    for unit in ("B", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.1f} {unit}" if unit != "B" else f"{size} B"
        size /= 1024
    return f"{size:.2f} GiB"
