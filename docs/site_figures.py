"""The Pareto front of each table of the page of submitted results, drawn when the site is built."""

import functools
import io
import re

import matplotlib
from matplotlib.figure import Figure

from eval.report.figures.drawing import ACCENT, COLUMN, STYLE
from eval.tables.formats import LOWER, arrow

SECTION = re.compile(r"^### (\S+)(.*?)(?=^##|\Z)", re.M | re.DOTALL)
NUMBER = re.compile(r"-?\d+\.?\d*")
COSTS = {"tokens": ("tokens kept", "share of tokens kept"), "seconds": ("s/im", "time per image (s)")}
OURS = "ReToM (Ours)"


@functools.cache  # the page needs the text after its figures have become files
def with_fronts(markdown: str) -> tuple[str, dict[str, bytes]]:
    """The page with a figure above each table, and the figures (SVG) by file name."""
    figures: dict[str, bytes] = {}

    def add(match: re.Match) -> str:
        before = markdown[: match.start()]
        quality = re.findall(r"Quality is `(\w+)`", before)[-1]
        cost = "tokens" if "Cost is the share of tokens" in before[before.rindex("\n## ") :] else "seconds"
        points = _points(_rows(match[2]), quality, COSTS[cost][0])
        if len(points) < 2:
            return match[0]
        name = f"front_{len(figures)}.svg"
        figures[name] = draw(points, quality, COSTS[cost][1])
        listed = ", ".join(point["label"] for point in points if point["front"])
        return f"### {match[1]}\n\n![Quality over cost; on the front: {listed}]({name})\n{match[2]}"

    return SECTION.sub(add, markdown), figures


def draw(points: list[dict], quality: str, cost: str) -> bytes:
    """Points with 95% intervals; those on the front are joined and named, and so is ReToM."""
    with matplotlib.rc_context({**STYLE, "svg.fonttype": "none"}):
        figure = Figure(figsize=(1.5 * COLUMN, COLUMN), layout="constrained")
        axis = figure.subplots()
        for point in points:
            colour = ACCENT if point["label"] == OURS else "0.1" if point["front"] else "0.6"
            errors = [[max(point["y"] - point["low"], 0)], [max(point["high"] - point["y"], 0)]]
            axis.errorbar(
                point["x"],
                point["y"],
                yerr=errors,
                fmt="o",
                color=colour,
                elinewidth=0.7,
                zorder=3 if colour == ACCENT else 2,
            )
            if point["front"] or point["label"] == OURS:
                axis.annotate(
                    point["label"], (point["x"], point["y"]), (5, 3), textcoords="offset points", color=colour
                )
        front = sorted((point["x"], point["y"]) for point in points if point["front"])
        axis.plot(*zip(*front, strict=True), drawstyle="steps-post", color="0.4", linewidth=0.9, zorder=1)
        axis.set(xlabel=f"{cost} {LOWER}", ylabel=f"{quality} {arrow(quality)}".strip())
        axis.margins(0.12)
        with io.BytesIO() as file:
            figure.savefig(file, format="svg", metadata={"Date": None})
            return file.getvalue()


def _rows(section: str) -> list[dict[str, str]]:
    """The table's rows by heading, without the arrows."""
    lines = [line[2:-2].split(" | ") for line in section.splitlines() if line.startswith("|")]
    header = [name.rstrip(" ↑↓") for name in lines[0]]
    return [dict(zip(header, map(str.strip, line), strict=True)) for line in lines[2:]]


def _points(rows: list[dict[str, str]], quality: str, cost: str) -> list[dict]:
    """Rows that may be on the front ("-" in that column: they may not)."""
    points = []
    for row in rows:
        values = [float(text) for text in NUMBER.findall(row[quality])]
        if row["front"] == "-" or not values:
            continue
        low, high = values[1:] or values * 2
        x = float(NUMBER.search(row[cost])[0])
        points.append(
            {"label": row["Method"], "x": x, "y": values[0], "low": low, "high": high, "front": bool(row["front"])}
        )
    return points
