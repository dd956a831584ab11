"""A sheet for trackers: a few images, spread evenly over the run, in a grid."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from eval.generation.images import DAMAGED

SIDE, COLUMNS, IMAGES = 160, 6, 24


def sheet(paths: Sequence[Path]) -> Image.Image | None:
    """At most `IMAGES` of `paths`, in order, each within `SIDE` pixels; None if none of them can be read."""
    count = min(IMAGES, len(paths))
    small = [_small(paths[index * len(paths) // count]) for index in range(count)]
    shown = [image for image in small if image is not None]
    if not shown:
        return None
    columns = min(COLUMNS, len(shown))
    rows = -(-len(shown) // columns)
    page = Image.new("RGB", (columns * SIDE, rows * SIDE), "white")
    for index, image in enumerate(shown):
        page.paste(image, (index % columns * SIDE, index // columns * SIDE))
    return page


def _small(path: Path) -> Image.Image | None:
    try:
        with Image.open(path) as image:
            small = image.convert("RGB")
    except DAMAGED:
        return None
    small.thumbnail((SIDE, SIDE))
    return small
