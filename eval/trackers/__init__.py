"""Experiment trackers, off by default: what they receive of a run. A failing tracker never fails a run."""

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
    """The data of one run that a tracker receives.

    name: the run's id. record: the complete record. options: the run's options, flat, plain values. numbers: metrics
    and time per image by name. curves: of the run's timed calls, and over every option in which finished runs differ.
    sheet: some of its images in a grid, None if none can be read.
    """

    name: str
    record: Mapping
    options: Mapping[str, str | int | float | bool]
    numbers: Mapping[str, float]
    curves: tuple[Curve, ...]
    sheet: Image.Image | None


class Tracker(Protocol):
    """A frozen description of where to send runs. Its packages are imported by `keep` only."""

    def keep(self, run: Tracked) -> None:
        """Send `run`, replacing what was sent of it before. May raise any exception."""
        ...


@dataclasses.dataclass(frozen=True)
class NoTracker:
    """Sends nothing."""

    def keep(self, run: Tracked) -> None:
        """Nothing."""


def send(tracker: Tracker, gather: Callable[[], Tracked]) -> bool:
    """Send the result of `gather` to `tracker`; returns whether it succeeded. A failure is logged as one line and not
    raised: the run's own results are already on disk, and neither they nor later rows may depend on a tracker.
    """
    if isinstance(tracker, NoTracker):
        return True
    name = type(tracker).__name__
    try:
        tracker.keep(gather())
    except ModuleNotFoundError as error:
        _log.warning(
            "tracker %s did not receive this run: %s is not installed (pip install -e '.[trackers]').", name, error.name
        )
    except Exception as error:
        raise_if_pressed()
        _log.warning("tracker %s did not receive this run: %s: %s", name, type(error).__name__, error)
    else:
        return True
    return False
