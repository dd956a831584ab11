"""The figure of quality against speed: ReToM highlighted, the baseline as lines, names next to the points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogFormatter

from eval.records import BASELINE, BOUND
from eval.report.figures.drawing import ACCENT, BUSY, MARKERS, MUTED, Drawing, drawing, errors, legend, panels, plain
from eval.report.figures.labels import Label, place
from eval.report.figures.letters import fit_letters
from eval.report.figures.points import Point, axis_name, front, points
from eval.report.figures.sweeps import Curve, longest
from eval.report.gather import QUALITY, Entry, Gathered
from eval.report.limits import NAMED, spread
from eval.tables.claims import OURS
from eval.tables.spec import SECONDS

WRITTEN = 16  # rows whose names are written next to their points; more rows have numbers there and names below
_HEIGHT = 2.6  # inches of a panel


@dataclass(frozen=True)
class Look:
    """The marker of a row, the same in every panel."""

    colour: str
    marker: str
    size: float = 4.5
    order: int = 3
    weight: str = "normal"


@dataclass(frozen=True)
class Plot:
    """What the panels show. shown: points by metric; fronts, named: those on the front, those with a name.

    baseline: the point whose seconds the speed-up is over; None plots seconds on a logarithmic axis.
    """

    gathered: Gathered
    shown: Mapping[str, Sequence[Point]]
    fronts: Mapping[str, Sequence[Point]]
    named: Mapping[str, Sequence[Point]]
    baseline: Point | None

    @property
    def rows(self) -> list[Entry]:
        """The rows with a name in some panel, in the table's order."""
        found = {point.entry.key for points in self.named.values() for point in points}
        return [entry for entry in self.gathered.entries if entry.key in found]

    def x(self, seconds: float) -> float:
        """Where a time is on the x axis."""
        return seconds if self.baseline is None else self.baseline.x / seconds


def draw_quality_speed(gathered: Gathered, over_ratio: Sequence[Curve], folder: Path) -> Drawing | None:
    """One panel for each metric, written into `folder`; None where no row has both numbers."""
    plot = _plot(gathered)
    if not plot.shown:
        return None
    figure, fits = _figure(plot, over_ratio, by_number=len(plot.rows) > WRITTEN)
    if not fits and len(plot.rows) <= WRITTEN:
        figure, _ = _figure(plot, over_ratio, by_number=True)
    return drawing(figure, "quality_speed", "Quality against speed", _alt(plot), folder)


def hollow(plot: Plot, point: Point) -> bool:
    """Whether the point's place on the x axis was measured on a busy device: by itself, or by its baseline."""
    return point.busy or (plot.baseline is not None and plot.baseline.busy)


def _plot(gathered: Gathered) -> Plot:
    shown = {metric: found for metric in QUALITY if (found := points(gathered, metric))}
    baselines = [point for found in shown.values() for point in found if point.entry.key == BASELINE]
    plot = Plot(gathered, shown, {}, {}, baselines[0] if baselines else None)
    ranks = gathered.profile != "smoke"
    ranked = {
        metric: [point for point in found if not hollow(plot, point) and _method(point.entry) != BOUND]
        for metric, found in shown.items()
    }
    fronts = {metric: front(found, metric) if ranks else [] for metric, found in ranked.items()}
    named = {metric: _named(found, fronts[metric]) for metric, found in shown.items()}
    return Plot(gathered, shown, fronts, named, plot.baseline)


def _named(found: Sequence[Point], best: Sequence[Point]) -> list[Point]:
    """The points with a name: all of them, or the first rows and some of the front."""
    if len(found) <= NAMED:
        return list(found)
    chosen = {*found[: NAMED // 2], *spread(best, NAMED // 2)}
    return [point for point in found if point in chosen]


def _figure(plot: Plot, over_ratio: Sequence[Curve], *, by_number: bool) -> tuple[Figure, bool]:
    """The figure, and whether all labels fit next to their points."""
    figure, axes = panels(len(plot.shown), _HEIGHT)
    looks = looks_of(plot.gathered.entries)
    texts = {entry.key: str(row) if by_number else plain(entry.label) for row, entry in enumerate(plot.rows, 1)}
    keys = {entry.key: f"{texts[entry.key]}  {plain(entry.label)}" for entry in plot.rows} if by_number else {}
    for axis, metric in zip(axes, plot.shown, strict=True):
        _draw_panel(axis, plot, metric, looks, keys)
        _connect(axis, plot, metric, over_ratio)
    legend(figure, axes)
    fit_letters(figure)
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # what is saved has the layout that the labels are placed in
    fits = [_label(axis, plot, metric, looks, texts) for axis, metric in zip(axes, plot.shown, strict=True)]
    return figure, all(fits)


def looks_of(entries: Sequence[Entry]) -> dict[str, Look]:
    """By key: one colour for each method, the accent for ReToM; its own row is larger and above the others."""
    methods = dict.fromkeys(_method(entry) for entry in entries)
    colours = dict(zip([name for name in methods if name not in (OURS, BASELINE)], MUTED * len(methods), strict=False))
    colours |= {OURS: ACCENT, BASELINE: "0.1"}
    looks = {}
    for index, entry in enumerate(entries):
        # Ten markers, eight colours: the eleventh row takes the first marker again, in another colour.
        looks[entry.key] = Look(colours[_method(entry)], MARKERS[index % len(MARKERS)])
    if OURS in looks:
        looks[OURS] = Look(ACCENT, "o", size=7.5, order=5, weight="bold")
    return looks


def _method(entry: Entry) -> str:
    return entry.key if entry.line.record is None else entry.line.record["method"]


def _draw_panel(axis: Axes, plot: Plot, metric: str, looks: Mapping[str, Look], keys: Mapping[str, str]) -> None:
    """Points, front and the baseline's lines. keys: what the legend says of rows, by key."""
    found, named, best = plot.shown[metric], plot.named[metric], plot.fronts[metric]
    for point in named:
        _draw_point(axis, plot, point, looks[point.entry.key], keys.get(point.entry.key))
    _draw_others(axis, plot, [point for point in found if point not in named])
    if len(best) > 1:
        # At a speed between two points of the front, the quality to be had is that of the faster one.
        steps = "steps-post" if plot.baseline is None else "steps-pre"
        line = sorted((plot.x(point.x), point.y) for point in best)
        axis.plot(*zip(*line, strict=True), drawstyle=steps, color="0.4", linewidth=0.9, zorder=2, label="Pareto front")
    _draw_baseline(axis, plot, [point for point in found if point.entry.key == BASELINE])
    axis.set(xlabel=_x_name(plot), ylabel=axis_name(metric, plot.gathered.profile))
    axis.margins(0.12)
    if plot.baseline is None:
        axis.set_xscale("log")
        for each in (axis.xaxis.set_major_formatter, axis.xaxis.set_minor_formatter):
            each(LogFormatter(labelOnlyBase=False, minor_thresholds=(1.5, 0.5)))


def _x_name(plot: Plot) -> str:
    return axis_name(SECONDS, "real") if plot.baseline is None else "speed-up over the baseline (x) ↑"


def _draw_point(axis: Axes, plot: Plot, point: Point, look: Look, key: str | None) -> None:
    x = plot.x(point.x)
    ends = None if point.x_interval is None else tuple(sorted(map(plot.x, point.x_interval)))
    _, _, bars = axis.errorbar(
        [x],
        [point.y],
        xerr=errors([x], [ends]),
        yerr=errors([point.y], [point.y_interval]),
        fmt=look.marker,
        color=look.colour,
        markerfacecolor="white" if hollow(plot, point) else look.colour,
        markersize=look.size,
        markeredgewidth=0.9,
        elinewidth=0.7,
        zorder=look.order,
        label=key,
    )
    for bar in bars:
        bar.set_alpha(0.45)
    if hollow(plot, point):
        axis.plot([], [], "o", color="0.3", markerfacecolor="white", label=BUSY)


def _draw_baseline(axis: Axes, plot: Plot, found: Sequence[Point]) -> None:
    for point in found:
        style = {"color": "0.55", "linewidth": 0.7, "linestyle": (0, (2, 2)), "zorder": 1}
        axis.axhline(point.y, label="baseline", **style)
        axis.axvline(plot.x(point.x), **style)


def _draw_others(axis: Axes, plot: Plot, found: Sequence[Point]) -> None:
    """Points without names, as one image inside the figure: thousands of marks would be megabytes."""
    if found:
        places = ([plot.x(point.x) for point in found], [point.y for point in found])
        axis.plot(*places, ".", color="0.75", markersize=3, zorder=0, rasterized=True, label="other rows")


def _connect(axis: Axes, plot: Plot, metric: str, over_ratio: Sequence[Curve]) -> None:
    """A thin line through the rows of one method over ratio."""
    by_key = {point.entry.key: point for point in plot.shown[metric]}
    for curve in longest(over_ratio):
        line = [by_key[entry.key] for entry in curve.entries if entry.key in by_key]
        axis.plot([plot.x(p.x) for p in line], [p.y for p in line], color="0.7", linewidth=0.6, zorder=1)


def _label(axis: Axes, plot: Plot, metric: str, looks: Mapping[str, Look], texts: Mapping[str, str]) -> bool:
    labels, lines = [], []
    for point in plot.named[metric]:
        look, x = looks[point.entry.key], plot.x(point.x)
        style = (("weight", look.weight), ("color", ACCENT if look.weight == "bold" else "0.15"))
        labels.append(Label(texts[point.entry.key], x, point.y, look.size, style))
        if point.y_interval is not None:
            lines.append(((x, point.y_interval[0]), (x, point.y_interval[1])))
        if point.entry.key == BASELINE:
            (left, right), (low, high) = axis.get_xlim(), axis.get_ylim()
            lines += [((left, point.y), (right, point.y)), ((x, low), (x, high))]
    return place(axis, labels, lines)


def _alt(plot: Plot) -> str:
    """The caption: what points, bars and lines are, the front or why there is none, and what is left out."""
    profile = plot.gathered.profile
    sentences = ["One point per row, with 95% intervals where the records have them."]
    if any(entry.key == OURS for entry in plot.rows):
        sentences.append("ReToM is highlighted.")
    if plot.baseline is not None:
        sentences.append(f"Dashed lines mark the baseline, {plot.baseline.entry.label}.")
    found = {point.entry.key: point for each in plot.shown.values() for point in each}.values()
    busy = [point.entry.label for point in found if hollow(plot, point)]
    if busy:
        sentences.append(f"Hollow points were timed on a busy device and are not on the front: {_listed(busy)}.")
    bound = next((point.entry.label for point in found if _method(point.entry) == BOUND), None)
    if bound is not None:
        sentences.append(f"{bound} is a bound on speed and is not on the front.")
    if profile == "smoke":
        sentences.append("No Pareto front is shown: the metrics of the smoke profile do not rank methods.")
    elif len(busy) == len(found):
        sentences.append("No Pareto front is shown: every row was timed on a busy device.")
    else:
        sentences += [
            f"{axis_name(metric, profile)[:-2]}, Pareto front, fastest first: {_listed([p.entry.label for p in best])}."
            for metric, best in plot.fronts.items()
        ]
    nameless = max(len(plot.shown[metric]) - len(named) for metric, named in plot.named.items())
    if nameless:
        sentences.append(f"{nameless} rows are grey dots without a name and without intervals.")
    return " ".join(sentences)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return "; ".join(names[:NAMED]) + more
