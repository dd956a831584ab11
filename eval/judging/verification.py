"""Whether two sets of a run's metrics agree: number by number, equal, within float noise, or different."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

EQUAL, WITHIN, DIFFERENT = "equal", "within tolerance", "different"
# Other hardware moves features by some 1e-6; a different image moves FID by far more.
RELATIVE = 1e-4


@dataclass(frozen=True)
class Finding:
    """One check: what was compared, its outcome, and the numbers or names behind it."""

    what: str
    outcome: str
    detail: str = ""

    @property
    def good(self) -> bool:
        """Whether it is no reason to doubt the record."""
        return self.outcome != DIFFERENT


def compare_metrics(kept: Mapping[str, Mapping], again: Mapping[str, Mapping]) -> list[Finding]:
    """One finding for each metric of either set, its worst number deciding."""
    return [_compare(name, kept.get(name), again.get(name)) for name in sorted({*kept, *again})]


def _compare(name: str, kept: Mapping | None, again: Mapping | None) -> Finding:
    if kept is None or again is None:
        return Finding(name, DIFFERENT, "it is not in the record" if kept is None else "it was not measured again")
    ours, theirs = dict(_numbers(kept)), dict(_numbers(again))
    # Differences of two large numbers carry the noise of both.
    scale = max((abs(x) for x in (kept["value"], again["value"]) if x is not None), default=0)
    worst, detail = EQUAL, f"value {_shown(kept['value'])}"
    for place in {**ours, **theirs}:
        if place not in ours or place not in theirs:
            return Finding(name, DIFFERENT, f"only one of the two has {place}")
        outcome = _outcome(ours[place], theirs[place], scale)
        if outcome == DIFFERENT:
            return Finding(name, DIFFERENT, f"{place} {_shown(ours[place])} in the record, {_shown(theirs[place])} now")
        if outcome == WITHIN:
            worst = WITHIN
    return Finding(name, worst, detail)


def _outcome(one: Any, other: Any, scale: float) -> str:
    if one == other:
        return EQUAL
    if isinstance(one, str) or isinstance(other, str) or one is None or other is None:
        return DIFFERENT
    return WITHIN if math.isclose(one, other, rel_tol=RELATIVE, abs_tol=RELATIVE * scale) else DIFFERENT


def _numbers(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a metric's entry by its dotted place."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not place and key == "better":  # no number; older records do not have it
                continue
            yield from _numbers(item, f"{place}.{key}" if place else key)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _numbers(item, f"{place}[{index}]")
    else:
        yield place, value


def _shown(value: Any) -> str:
    return f"{value:.8g}" if isinstance(value, float) else str(value)
