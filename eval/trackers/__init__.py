"""Trackers of experiments, off by default: what each of them is given of a run, and that none can fail one."""

import dataclasses
import logging
from collections.abc import Callable, Mapping
from typing import Protocol

from PIL import Image

from eval.interrupts import raise_if_pressed
from eval.trackers.curves import Curve

_log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Tracked:
    """What a tracker receives of one run.

    name: the run's id. record: the whole record. options: what chooses the run, flat, plain values. numbers: metrics
    and seconds by name. curves: of the run's timed calls, and over every option that finished runs beside it vary.
    sheet: some of its pictures in a grid, None where none can be read.
    """

    name: str
    record: Mapping
    options: Mapping[str, str | int | float | bool]
    numbers: Mapping[str, float]
    curves: tuple[Curve, ...]
    sheet: Image.Image | None


class Tracker(Protocol):
    """A frozen description of where to send runs; what it needs is imported by `keep` alone."""

    def keep(self, run: Tracked) -> None:
        """Send `run`; sent again, it replaces what was sent of it before. It may raise whatever it likes."""
        ...


@dataclasses.dataclass(frozen=True)
class NoTracker:
    """Nothing is sent."""

    def keep(self, run: Tracked) -> None:
        """Nothing."""


def send(tracker: Tracker, gather: Callable[[], Tracked]) -> bool:
    """Give `tracker` what `gather` finds; whether that went well. A failure is told and goes no further: the run's own
    results are on disk by now, and no tracker may cost them or the rows that follow.
    """
    if isinstance(tracker, NoTracker):
        return True
    name = type(tracker).__name__
    try:
        tracker.keep(gather())
    except ModuleNotFoundError as error:
        _log.warning(
            "tracker %s was not told of this run: %s is not installed (pip install -e '.[trackers]').", name, error.name
        )
    except Exception as error:
        raise_if_pressed()
        _log.warning("tracker %s was not told of this run: %s: %s", name, type(error).__name__, error)
    else:
        return True
    return False
