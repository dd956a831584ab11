"""What a search over options minimises: the best quality at a given speed, read from a run's record."""

import math
import numbers
from collections.abc import Mapping
from dataclasses import dataclass, replace

from eval.errors import RunError
from eval.tables.spec import SECONDS, better, metric_name

METRICS = ("fid", "kid", "clip", "ssim", "fid_legacy_pytorch", "clip_vitl14")
# Larger than any value of a metric: rows that are too slow rank among themselves, by how much they exceed the limit.
TOO_SLOW = 1e6


@dataclass(frozen=True)
class Objective:
    """The metric to be best at, among the rows that take at most `s_per_im` seconds an image (None: any).

    metric: a metric's name; the smoke profile's fid, kid and clip are taken for it. better: which of its values are,
    "lower" or "higher"; None: those of a shipped metric, or of the further one in `among`. ValueError: a bad value.
    """

    metric: str = "fid"
    s_per_im: float | None = None
    better: str | None = None

    def __post_init__(self) -> None:
        if self.better not in (None, "lower", "higher"):
            raise ValueError(f"objective.better must be lower, higher or null, got {self.better!r}")
        limit = self.s_per_im
        if limit is None:
            return
        if isinstance(limit, bool) or not isinstance(limit, numbers.Real) or not 0 < limit < math.inf:
            raise ValueError(f"objective.s_per_im must be a positive number of seconds or null, got {limit!r}")

    def among(self, further: Mapping[str, str | None]) -> "Objective":
        """The same for rows that measure `further` metrics, each with its better values (None: it does not say).

        ValueError: the metric is neither shipped nor one of them, or nothing says which of its values are better.
        """
        if self.metric not in (*METRICS, *further):
            allowed = ", ".join((*METRICS, *further))
            raise ValueError(f"objective.metric must be one of {allowed}, got {self.metric!r}")
        way = self.better or better(self.metric) or further.get(self.metric)
        if way is None:
            raise ValueError(
                f"objective.metric {self.metric} does not say which values are better; set better in its class, or "
                "+objective.better=lower"
            )
        return replace(self, better=way)

    def loss(self, record: Mapping) -> float:
        """What to minimise: the metric's value, negated where higher is better; above `TOO_SLOW` for a slow row.

        RunError: the record has no value of the metric, or was not timed although a limit is set.
        """
        if self.s_per_im is not None:
            if record["timing"] is None:
                raise RunError(
                    "objective.s_per_im needs the time per image, and this row was not timed; choose timing=default"
                )
            if record["timing"][SECONDS] > self.s_per_im:
                return TOO_SLOW * record["timing"][SECONDS] / self.s_per_im
        name = self._name(record)
        metric = record["metrics"].get(name, {})
        value = metric.get("value")
        if value is None:
            why = metric.get("reason") or f"it has {', '.join(record['metrics']) or 'no metric'}"
            raise RunError(f"objective.metric {name} has no value in this row ({why}); choose another")
        return -value if self._higher else value

    def words(self, loss: float) -> str:
        """A loss as text: "fid 35.2", or by how much the row was too slow."""
        if math.isinf(loss):
            return "no value"
        if loss >= TOO_SLOW:
            return f"{loss / TOO_SLOW:.3g} times the time allowed"
        return f"{self.metric} {-loss if self._higher else loss:.4g}"

    @property
    def _higher(self) -> bool:
        return (self.better or better(self.metric)) == "higher"

    def _name(self, record: Mapping) -> str:
        smoke = record["protocol"]["metrics"].get("profile") == "smoke"
        return "kid_smoke" if smoke and self.metric == "kid" else metric_name(self.metric, "smoke" if smoke else "real")
