"""What to look at inside one generation: steps, and the window around a point of the image."""

import dataclasses
from typing import Any

from eval.report.studies.recording import scaled_steps


@dataclasses.dataclass(frozen=True)
class Look:
    """What to look at: steps of `of`, the point of the image (shares of its height and width), the window's side.

    window: for methods that have no windows of their own. ValueError: with the name, the value and what is allowed.
    """

    steps: tuple[int, ...] = (0, 300, 600, 900)
    of: int = 1000
    point: tuple[float, float] = (0.5, 0.5)
    window: int | None = None

    def __post_init__(self):
        if isinstance(self.of, bool) or not isinstance(self.of, int) or self.of < 1:
            raise ValueError(f"figure3.of must be an integer of at least 1, got {self.of!r}")
        if not isinstance(self.steps, list | tuple):
            raise ValueError(f"figure3.steps must be a list, as [0,300,600,900], got {self.steps!r}")
        object.__setattr__(self, "steps", tuple(self.steps))
        scaled_steps(list(self.steps), self.of, 1)
        object.__setattr__(self, "point", _point(self.point))
        if self.window is not None and (isinstance(self.window, bool) or not isinstance(self.window, int)):
            raise ValueError(f"figure3.window must be null or an integer of at least 1, got {self.window!r}")
        if self.window is not None and self.window < 1:
            raise ValueError(f"figure3.window must be null or at least 1, got {self.window}")


def _point(point: Any) -> tuple[float, float]:
    shares = point if isinstance(point, list | tuple) else ()
    if [isinstance(share, int | float) and 0 <= share <= 1 for share in shares] != [True, True]:
        raise ValueError(f"figure3.point must be two shares in [0, 1], of height and width, got {point!r}")
    return tuple(float(share) for share in point)
