"""The figures: drawn once, kept as PNG and PDF beside the page and as SVG inside it."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from eval.report.drawing import MARKERS, STYLE, Drawing, keep, legend, panels, plain, svg_uri
from eval.report.gather import QUALITY, Entry, Gathered
from eval.report.limits import CURVES, NAMED, spread
from eval.report.points import LOWER_IS_BETTER, Point, front, interval, points
from eval.report.sweeps import Curve, curves
from eval.tables.spec import SECONDS, metric_name

_HEADINGS = {"fid": "FID", "clip": "CLIP score", "ssim": "SSIM to unmerged", SECONDS: "seconds per image"}


def draw_all(gathered: Gathered, folder: Path) -> list[Drawing]:
    """Every figure that the records have numbers for, written into `folder`; none without numbers."""
    by_option = curves(gathered)
    with matplotlib.rc_context(STYLE):
        drawings = [_quality_speed(gathered, by_option.get("ratio", []), folder)]
        drawings += [_sweep(gathered, option, found, folder) for option, found in sorted(by_option.items())]
    return [drawing for drawing in drawings if drawing is not None]


def _quality_speed(gathered: Gathered, over_ratio: Sequence[Curve], folder: Path) -> Drawing | None:
    shown = {metric: found for metric in QUALITY if (found := points(gathered, metric))}
    if not shown:
        return None
    figure, axes = panels(len(shown))
    said, nameless = [], 0
    for axis, (metric, found) in zip(axes, shown.items(), strict=True):
        best = front(found, metric)
        named = _named(found, best)
        _draw_points(axis, [point for point in found if point in named], gathered.entries)
        nameless = max(nameless, _draw_others(axis, [point for point in found if point not in named]))
        axis.plot([p.x for p in best], [p.y for p in best], color="0.35", linestyle="--", linewidth=1, label="_front")
        _connect(axis, found, over_ratio)
        axis.set(xlabel=_HEADINGS[SECONDS], ylabel=_axis(metric, gathered.profile))
        said.append(f"{_heading(metric, gathered.profile)}: {_listed([p.entry.label for p in best])}")
    legend(figure, axes)
    alt = f"One point per row with 95% intervals. On the Pareto front, the fastest first: {'; '.join(said)}."
    if nameless:
        alt += f" {nameless} rows are grey dots without a name and without intervals."
    return _drawing(figure, "quality_speed", "Quality against speed", alt, folder)


def _draw_points(axis: Axes, found: Sequence[Point], entries: Sequence[Entry]) -> None:
    for point in found:
        index = entries.index(point.entry)  # the same mark in every panel, whatever rows it has
        axis.errorbar(
            [point.x],
            [point.y],
            xerr=_error([point.x], [point.x_interval]),
            yerr=_error([point.y], [point.y_interval]),
            # Ten colours of ten marks: the eleventh row takes the first colour again, with the second mark.
            fmt=MARKERS[(index + index // 10) % len(MARKERS)],
            color=f"C{index % 10}",
            capsize=2,
            elinewidth=0.8,
            label=plain(point.entry.label),
        )


def _named(found: Sequence[Point], best: Sequence[Point]) -> set[Point]:
    """The points with a mark of their own: all of them, or the first rows and some of the front."""
    if len(found) <= NAMED:
        return set(found)
    return {*found[: NAMED // 2], *spread(best, NAMED // 2)}


def _draw_others(axis: Axes, found: Sequence[Point]) -> int:
    """Points without names, as one picture inside the figure: thousands of marks would be megabytes. Their count."""
    if found:
        places = ([point.x for point in found], [point.y for point in found])
        axis.plot(*places, ".", color="0.75", markersize=3, zorder=0, rasterized=True, label="other rows")
    return len(found)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _connect(axis: Axes, found: Sequence[Point], over_ratio: Sequence[Curve]) -> None:
    """A thin line through the rows of one method over ratio."""
    by_name = {point.entry.label: point for point in found}
    for curve in _longest(over_ratio):
        line = [by_name[entry.label] for entry in curve.entries if entry.label in by_name]
        axis.plot([p.x for p in line], [p.y for p in line], color="0.6", linewidth=0.8, label="_ratio")


def _sweep(gathered: Gathered, option: str, found: Sequence[Curve], folder: Path) -> Drawing | None:
    names = {metric: metric_name(metric, gathered.profile) for metric in (*QUALITY, SECONDS)}
    shown = [
        metric
        for metric, name in names.items()
        if any(sum(e.line.cells[name] is not None for e in curve.entries) > 1 for curve in found)
    ]
    if not shown:
        return None
    figure, axes = panels(len(shown))
    total, found = len(found), _longest(found)
    for axis, metric in zip(axes, shown, strict=True):
        for index, curve in enumerate(found):
            _draw_curve(axis, curve, names[metric], index)
        axis.set(xlabel=option, ylabel=_axis(metric, gathered.profile))
    legend(figure, axes)
    rows = "; ".join(f"{curve.name} at {', '.join(f'{value:g}' for value in curve.values)}" for curve in found)
    alt = f"{', '.join(_axis(metric, gathered.profile) for metric in shown)} over {option}, 95% intervals: {rows}."
    if len(found) < total:
        alt += f" The {len(found)} curves with the most values are shown, of {total}."
    return _drawing(figure, f"sweep_{option.replace('.', '_')}", f"Sweep over {option}", alt, folder)


def _longest(found: Sequence[Curve]) -> list[Curve]:
    """The `CURVES` curves with the most values, in their order."""
    kept = sorted(range(len(found)), key=lambda index: -len(found[index].entries))[:CURVES]
    return [found[index] for index in sorted(kept)]


def _draw_curve(axis: Axes, curve: Curve, name: str, index: int) -> None:
    cells = [entry.line.cells for entry in curve.entries]
    kept = [i for i, cell in enumerate(cells) if cell[name] is not None]
    values = [cells[i][name] for i in kept]
    if not values:
        return
    axis.errorbar(
        [curve.values[i] for i in kept],
        values,
        yerr=_error(values, [interval(cells[i], name) for i in kept]),
        marker=MARKERS[index % len(MARKERS)],
        color=f"C{index % 10}",
        capsize=2,
        linewidth=1,
        label=plain(curve.name),
    )


def _error(values: Sequence[float], intervals: Sequence[tuple[float, float] | None]) -> list[list[float]] | None:
    """Distances below and above. A bootstrap interval may lie beside its value; a distance is never negative."""
    if not any(intervals):
        return None
    ends = [(value, value) if found is None else found for value, found in zip(values, intervals, strict=True)]
    below = [max(value - low, 0.0) for value, (low, _) in zip(values, ends, strict=True)]
    above = [max(high - value, 0.0) for value, (_, high) in zip(values, ends, strict=True)]
    return [below, above]


def _heading(metric: str, profile: str) -> str:
    name = metric_name(metric, profile)
    return _HEADINGS[metric] if name == metric else name


def _axis(metric: str, profile: str) -> str:
    better = {True: " (lower is better)", False: " (higher is better)"}
    return _heading(metric, profile) + better.get(LOWER_IS_BETTER.get(metric), "")


def _drawing(figure: Figure, name: str, title: str, alt: str, folder: Path) -> Drawing:
    return Drawing(name, title, svg_uri(figure), alt, keep(figure, name, folder))
