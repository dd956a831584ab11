"""Quality against speed: one point for each row that has both numbers, and the front that no other row beats."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eval.judging.dominance import undominated
from eval.report.gather import Entry, Gathered
from eval.tables.formats import arrow, mark
from eval.tables.spec import SECONDS, better, metric_name

_NAMES = {"fid": "FID", "clip": "CLIP score", "ssim": "SSIM to baseline", SECONDS: "time per image (s)"}
Interval = tuple[float, float] | None


@dataclass(frozen=True)
class Point:
    """`x` seconds per image, `y` the metric, each with its 95% interval (None where the record has none)."""

    entry: Entry
    x: float
    y: float
    x_interval: Interval
    y_interval: Interval

    @property
    def busy(self) -> bool:
        """Whether other processes used the device while the row was timed, or this is not known."""
        return bool(mark(self.entry.line.record))


def points(gathered: Gathered, metric: str) -> list[Point]:
    """The rows with both numbers, in the table's order. metric: "fid", "clip" or "ssim"."""
    name = metric_name(metric, gathered.profile)
    found = []
    for entry in gathered.entries:
        cells = entry.line.cells
        if cells[name] is None or cells[SECONDS] is None:
            continue
        found.append(Point(entry, cells[SECONDS], cells[name], interval(cells, SECONDS), interval(cells, name)))
    return found


def front(found: Sequence[Point], metric: str) -> list[Point]:
    """The points that no other is both as fast and as good as (one of the two better), the fastest first."""
    sign = 1 if better(metric) == "lower" else -1
    on_front = undominated([(point.x, sign * point.y) for point in found])
    best = (point for point, is_on in zip(found, on_front, strict=True) if is_on)
    return sorted(best, key=lambda point: point.x)


def interval(cells: Mapping[str, Any], name: str) -> Interval:
    """The 95% interval of a value, or None."""
    low, high = cells[f"{name}_low"], cells[f"{name}_high"]
    return None if low is None or high is None else (low, high)


def axis_name(metric: str, profile: str) -> str:
    """A metric with its unit, the arrow of the better direction, and "smoke" where the profile's is another metric."""
    smoke = ", smoke" if metric_name(metric, profile) != metric else ""
    return f"{_NAMES[metric]}{smoke} {arrow(metric)}"
