"""A sheet of a run's pictures for trackers: a few of them, spread evenly over the run, in a grid."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from eval.images import DAMAGED

SIDE, COLUMNS, PICTURES = 160, 6, 24


def sheet(paths: Sequence[Path]) -> Image.Image | None:
    """`PICTURES` of `paths` at most, in order, each within `SIDE` pixels; None where none of them can be read."""
    count = min(PICTURES, len(paths))
    small = [_small(paths[index * len(paths) // count]) for index in range(count)]
    pictures = [picture for picture in small if picture is not None]
    if not pictures:
        return None
    columns = min(COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * SIDE, rows * SIDE), "white")
    for index, picture in enumerate(pictures):
        page.paste(picture, (index % columns * SIDE, index // columns * SIDE))
    return page


def _small(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as picture:
            small = picture.convert("RGB")
    except DAMAGED:
        return None
    small.thumbnail((SIDE, SIDE))
    return small
