"""Names next to points: where each is placed so that none covers another, a point or the edge of the panel."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patheffects import withStroke
from matplotlib.text import Annotation

_ANGLES = np.radians(np.arange(0, 360, 15))
_GAPS = (1, 4, 8, 13, 19, 27, 37, 49, 63)  # points, from the mark's edge to the label's
_SHOWN = 4  # points: beyond, a line leads from the label to its point
_PASSES = 8
_ROOM = 0.5  # points around a label: devices set letters a little wider or narrower
Line = tuple[tuple[float, float], tuple[float, float]]  # its ends, low and high, in data coordinates
_HALO = (withStroke(linewidth=1.5, foreground="white"),)


@dataclass(frozen=True)
class Label:
    """`text` next to (x, y) in data coordinates, with matplotlib's `style` of texts. mark: size of the mark, points."""

    text: str
    x: float
    y: float
    mark: float
    style: tuple[tuple[str, object], ...] = ()


def place(axes: Axes, labels: Sequence[Label], lines: Sequence[Line] = ()) -> bool:
    """Write the labels into `axes`; whether they all fit without covering each other or a point.

    The layout of the figure must be final. lines: horizontal and vertical ones that labels avoid where they can.
    """
    if not labels:
        return True
    scale = axes.get_figure().dpi / 72
    at = axes.transData.transform([(label.x, label.y) for label in labels]) / scale  # [n, 2] points
    sizes = np.array([_size(axes, label) for label in labels]) / scale + 2 * _ROOM
    edge = np.array(axes.bbox.extents).reshape(2, 2) / scale
    ends = [np.clip(axes.transData.transform(line) / scale, *edge) for line in lines]
    half = np.array([[label.mark / 2 + 0.5] for label in labels])
    marks = np.concatenate([at - half, at + half], axis=1)
    strips = np.array([(*(low - 0.5), *(high + 0.5)) for low, high in ends]).reshape(-1, 4)
    candidates = [_candidates(*each) for each in zip(at, sizes, half, strict=True)]
    fixed = [
        _fixed_cost(boxes, marks, strips, edge) + _ambiguity(boxes, at, index)
        for index, (boxes, _) in enumerate(candidates)
    ]
    chosen = _choose(candidates, fixed, at)
    for place_, label, (boxes, _), point in zip(chosen, labels, candidates, at, strict=True):
        _write(axes, label, boxes[place_], point)
    boxes = np.array([found[0][place_] for place_, found in zip(chosen, candidates, strict=True)])
    others = ~np.eye(len(labels), dtype=bool)
    covered = _overlap(boxes, boxes)[others].sum() + _overlap(boxes, marks).sum()
    return bool(covered == 0 and all(_inside(boxes, edge)))


def _size(axes: Axes, label: Label) -> tuple[float, float]:
    """Width and height in pixels of the written label."""
    text = axes.text(0, 0, label.text, **dict(label.style))
    box = text.get_window_extent()
    text.remove()
    return box.width, box.height


def _candidates(point: np.ndarray, size: np.ndarray, half: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Boxes (left, bottom, right, top) around the point, and the distance of each, the nearest first."""
    found = []
    for gap, angle in product(_GAPS, _ANGLES):
        way = np.array([np.cos(angle), np.sin(angle)])
        middle = point + way * (half + gap + size / 2)
        found.append((*(middle - size / 2), *(middle + size / 2)))
    return np.array(found), np.repeat(_GAPS, len(_ANGLES)).astype(float)


def _fixed_cost(boxes: np.ndarray, marks: np.ndarray, strips: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """What a box costs whatever the other labels do: outside the panel, over a mark, over a line."""
    cost = 1e5 * ~_inside(boxes, edge) + 1e3 * (_overlap(boxes, marks) > 0).sum(axis=1)
    return cost + 12 * (_overlap(boxes, strips) > 0).sum(axis=1)


def _ambiguity(boxes: np.ndarray, at: np.ndarray, own: int) -> np.ndarray:
    """What a box costs for every other point that it is nearer to than to its own, or nearly so."""
    away = np.maximum(boxes[:, None, :2] - at, at - boxes[:, None, 2:]).clip(0)  # [boxes, points, 2]
    distance = np.linalg.norm(away, axis=2)
    nearer = distance < distance[:, own : own + 1] + 2
    return 15.0 * (nearer.sum(axis=1) - 1)


def _choose(candidates: Sequence[tuple], fixed: Sequence[np.ndarray], at: np.ndarray) -> list[int]:
    """For each label the candidate that costs least given the others', improved label by label until none changes."""
    chosen = [int(np.argmin(cost + found[1])) for cost, found in zip(fixed, candidates, strict=True)]
    for _ in range(_PASSES):
        before = list(chosen)
        for index, (boxes, far) in enumerate(candidates):
            others = [other for other in range(len(chosen)) if other != index]
            taken = np.array([candidates[other][0][chosen[other]] for other in others]).reshape(-1, 4)
            cost = fixed[index] + far + 1e3 * (_overlap(boxes, taken) > 0).sum(axis=1)
            for count in (_crossed, _struck):
                cost = cost + 200 * count(boxes, at[index], taken, at[others])
            chosen[index] = int(np.argmin(cost))
        if chosen == before:
            break
    return chosen


def _crossed(boxes: np.ndarray, point: np.ndarray, taken: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How many leading lines of the other labels the line from `point` to each box crosses."""
    count = np.zeros(len(boxes))
    middles = (boxes[:, :2] + boxes[:, 2:]) / 2
    for box, other in zip(taken, points, strict=True):
        end = (box[:2] + box[2:]) / 2
        apart = _side(point, middles, other) * _side(point, middles, end)
        across = _side(other, end, point) * _side(other, end, middles)
        count += (apart < 0) & (across < 0)
    return count


def _struck(boxes: np.ndarray, point: np.ndarray, taken: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How many of the other labels the line from `point` to each box strikes, and how many of their lines strike it."""
    own, theirs = _line(point, boxes), _line(points, taken)  # [boxes, 8, 2], [others, 8, 2]
    return _holds(taken, own).any(axis=1).sum(axis=1) + _holds(boxes, theirs).any(axis=1).sum(axis=0)


def _line(points: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Eight places on the line from a point to the nearest place of its box, [boxes, 8, 2]."""
    points = np.broadcast_to(points, (len(boxes), 2))
    ends = np.clip(points, boxes[:, :2], boxes[:, 2:])
    return points[:, None] + np.linspace(0.1, 1, 8)[:, None] * (ends - points)[:, None]


def _holds(boxes: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Whether each place [n, 8, 2] is in each box, [n, 8, boxes]."""
    inside = (places[:, :, None] >= boxes[:, :2]) & (places[:, :, None] <= boxes[:, 2:])
    return inside.all(axis=3)


def _side(start: np.ndarray, end: np.ndarray, point: np.ndarray) -> np.ndarray:
    way, other = end - start, point - start
    return way[..., 0] * other[..., 1] - way[..., 1] * other[..., 0]


def _inside(boxes: np.ndarray, edge: np.ndarray) -> np.ndarray:
    return (boxes[:, :2] >= edge[0]).all(axis=1) & (boxes[:, 2:] <= edge[1]).all(axis=1)


def _overlap(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Areas that each box of `first` shares with each of `second`, [n, m]."""
    sides = np.minimum(first[:, None, 2:], second[None, :, 2:]) - np.maximum(first[:, None, :2], second[None, :, :2])
    return sides.clip(0).prod(axis=2)


def _write(axes: Axes, label: Label, box: np.ndarray, point: np.ndarray) -> Annotation:
    middle = (box[:2] + box[2:]) / 2
    gap = np.linalg.norm(np.maximum(box[:2] - point, point - box[2:]).clip(0)) - label.mark / 2
    near = (np.clip(point, box[:2], box[2:]) - box[:2]) / (box[2:] - box[:2])
    line = {"arrowstyle": "-", "linewidth": 0.4, "color": "0.45", "shrinkA": 0, "shrinkB": 2, "relpos": tuple(near)}
    written = axes.annotate(
        label.text,
        (label.x, label.y),
        tuple(middle - point),
        textcoords="offset points",
        ha="center",
        va="center",
        arrowprops=line if gap > _SHOWN else None,
        path_effects=_HALO,
        zorder=6,
        **dict(label.style),
    )
    written.set_in_layout(False)
    return written
