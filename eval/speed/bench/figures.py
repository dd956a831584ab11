"""Statistics of raw timings: a method's time per call, and its ratio to other methods of the same cell."""

import statistics
from collections.abc import Collection, Mapping, Sequence

import numpy as np

REFERENCES = ("none", "oracle", "tomesd")


def time_per_call(seconds: Sequence[float], period: int, *, alike: bool = False) -> float:
    """Mean over the positions in a period of the median of all calls at that position.

    Call 0 and every `period`-th call after it plan. With period 1 this is the median. With fewer calls than the period
    some positions were never measured: ValueError, unless the calls that do not plan are `alike` and at least one was
    measured. Then their median is used for all of them, so that planning still counts once per period.
    """
    if len(seconds) < period:
        if not alike or len(seconds) < 2:
            raise ValueError(f"rounds must be at least the period, {period}, got {len(seconds)}")
        return (seconds[0] + (period - 1) * statistics.median(seconds[1:])) / period
    return statistics.fmean(statistics.median(seconds[place::period]) for place in range(period))


def spread(seconds: Sequence[float]) -> float:
    """Interquartile range of the raw values."""
    low, high = np.quantile(seconds, [0.25, 0.75])
    return float(high - low)


def ratios(
    seconds: Mapping[str, Sequence[float]], periods: Mapping[str, int], alike: Collection[str] = ()
) -> dict[str, dict[str, float | None]]:
    """By method: `to_none`, `to_oracle`, `to_tomesd`, each with `_iqr`; None if that one was not measured.

    The ratio is that of the times per call. Its interquartile range is over call-by-call ratios of the same round,
    which shows how stable the machine was. alike: the methods whose calls that do not plan are alike.
    """
    times = {name: time_per_call(values, periods[name], alike=name in alike) for name, values in seconds.items()}
    table = {}
    for name, values in seconds.items():
        row: dict[str, float | None] = {}
        for reference in REFERENCES:
            known = reference in seconds
            row[f"to_{reference}"] = times[name] / times[reference] if known else None
            row[f"to_{reference}_iqr"] = spread(np.divide(values, seconds[reference])) if known else None
        table[name] = row
    return table
