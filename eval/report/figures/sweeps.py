"""Curves over an option: records that differ in the value of one number of their method, and in nothing else."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes

from eval.records.canonical import canonical_json, flat_options
from eval.report.figures.drawing import BUSY, CURVE_COLOURS, MARKERS, Drawing, drawing, errors, legend, panels, plain
from eval.report.figures.points import Interval, axis_name, interval
from eval.report.gather import QUALITY, Entry, Gathered
from eval.report.limits import CURVES
from eval.tables.formats import mark
from eval.tables.spec import SECONDS, metric_name

_UNITS = {"ratio": "share of tokens removed", "window": "tokens per side", "period": "steps"}
_TICKS = 6  # values of an option that the axis names; more are numbered as any axis is
_HEIGHT = 1.9  # inches of a panel


@dataclass(frozen=True)
class Curve:
    """Rows of one method, by rising value of `option`; `name` distinguishes the curves over one option."""

    option: str
    name: str
    values: tuple[float, ...]
    entries: tuple[Entry, ...]


def curves(gathered: Gathered) -> dict[str, list[Curve]]:
    """By option, every set of two or more finished rows that differ in it alone."""
    sets: dict[tuple[str, str], dict[float, Entry]] = {}
    for entry in gathered.swept:
        record = entry.line.record
        if record is None or record["status"] == "failed":
            continue
        options = flat_options(record["config"]["method"])
        for option, value in options.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            rest = {name: other for name, other in options.items() if name != option}
            alike = canonical_json([rest, record["config"].get("backend"), record["protocol"]])
            # Of rows that differ in nothing that counts, the first is used: the paper's own.
            sets.setdefault((option, alike), {}).setdefault(value, entry)
    found: dict[str, list[Curve]] = {}
    for (option, _), by_value in sets.items():
        if len(by_value) > 1:
            values = tuple(sorted(by_value))
            entries = tuple(by_value[value] for value in values)
            own = found.setdefault(option, [])
            name = _name(entries, option)
            taken = name in (curve.name for curve in own)
            own.append(Curve(option, _shortest(entries) if taken else name, values, entries))
    return found


def _name(entries: Sequence[Entry], option: str) -> str:
    """What the rows' names share: of one method the shortest without the option, of several the same first letters."""
    if len({entry.line.record["method"] for entry in entries}) == 1:
        return re.sub(rf", {re.escape(option)}=[^,]*", "", _shortest(entries))
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*(e.label for e in entries), strict=False))
    return "".join(letters[0] for letters in same).rstrip(" (,=") or _shortest(entries)


def _shortest(entries: Sequence[Entry]) -> str:
    """The name of the row that departs least from the shipped options."""
    return min((entry.label for entry in entries), key=len)


def longest(found: Sequence[Curve]) -> list[Curve]:
    """The `CURVES` curves with the most values, in their order."""
    chosen = sorted(range(len(found)), key=lambda index: -len(found[index].entries))[:CURVES]
    return [found[index] for index in sorted(chosen)]


def draw_sweep(profile: str, option: str, found: Sequence[Curve], folder: Path) -> Drawing | None:
    """One panel for each metric that some curve has two values of, written into `folder`; None where there is none."""
    names = {metric: metric_name(metric, profile) for metric in (*QUALITY, SECONDS)}
    shown = [metric for metric, name in names.items() if any(len(_values(curve, name)) > 1 for curve in found)]
    if not shown:
        return None
    total, found = len(found), longest(found)
    figure, axes = panels(len(shown), _HEIGHT)
    ticks = sorted({value for curve in found for value in curve.values})
    for axis, metric in zip(axes, shown, strict=True):
        for index, curve in enumerate(found):
            _draw_curve(axis, curve, names[metric], index)
        axis.set(xlabel=option_name(option), ylabel=axis_name(metric, profile))
        if metric == SECONDS:
            axis.set_ylim(0, 1.05 * axis.get_ylim()[1])  # a difference of a few per cent looks like one
        if len(ticks) <= _TICKS:
            axis.set_xticks(ticks, [f"{value:g}" for value in ticks])
    legend(figure, axes)
    rows = "; ".join(f"{curve.name} at {', '.join(f'{value:g}' for value in curve.values)}" for curve in found)
    listed = ", ".join(axis_name(metric, profile)[:-2] for metric in shown)
    alt = f"{listed} over {option_name(option)}, with 95% intervals where the records have them. Rows: {rows}."
    if len(found) < total:
        alt += f" The {len(found)} curves with the most values are shown, of {total}."
    return drawing(figure, f"sweep_{option.replace('.', '_')}", f"Sweep over {option}", alt, folder)


def option_name(option: str) -> str:
    """An option with its unit."""
    unit = _UNITS.get(option.partition(".")[0])
    return option if unit is None else f"{option} ({unit})"


def _values(curve: Curve, name: str) -> list[tuple[float, float, Interval]]:
    """(value of the option, metric, its interval) of the curve's rows that have the metric."""
    cells = [(value, entry.line.cells) for value, entry in zip(curve.values, curve.entries, strict=True)]
    return [(value, cell[name], interval(cell, name)) for value, cell in cells if cell[name] is not None]


def _draw_curve(axis: Axes, curve: Curve, name: str, index: int) -> None:
    found = _values(curve, name)
    if not found:
        return
    places, values, intervals = zip(*found, strict=True)
    style = {"marker": MARKERS[index % len(MARKERS)], "color": CURVE_COLOURS[index % len(CURVE_COLOURS)]}
    axis.errorbar(places, values, yerr=errors(values, intervals), elinewidth=0.7, label=plain(curve.name), **style)
    if name == SECONDS:
        busy = [entry.line.cells[name] if mark(entry.line.record) else None for entry in curve.entries]
        hollow = [(x, y) for x, y in zip(curve.values, busy, strict=True) if y is not None]
        if hollow:
            axis.plot(*zip(*hollow, strict=True), linestyle="", markerfacecolor="white", zorder=3, **style)
            axis.plot([], [], "o", color="0.3", markerfacecolor="white", label=BUSY)
