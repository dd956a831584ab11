"""Pictures drawn by code, for machines that have no ImageNet: the smoke profile's reference.

They are real JPEG files in ImageNet's folder shape, `<wnid>/ILSVRC2012_val_<number>.JPEG`. A class has its own colours
and shapes, a picture its own places and sizes, so that a feature distance has something to measure. They stand for
nothing in the world.
"""

import colorsys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from eval.atomic import clear, replacing


def write_synthetic(folder: Path, classes: Iterable[tuple[str, int]], per_class: int, *, size: int, seed: int) -> None:
    """Write the first `per_class` pictures of each (wnid, class index) into `folder`, those that are not there yet.

    Each file is a pure function of (seed, class index, number, size), so two processes may write at once.
    """
    for wnid, index in classes:
        paths = [folder / wnid / f"ILSVRC2012_val_{index * 10_000 + number:08d}.JPEG" for number in range(per_class)]
        missing = [number for number, path in enumerate(paths) if not path.exists()]
        if missing:
            clear(folder / wnid)
        for number in missing:
            with replacing(paths[number]) as temporary:
                synthetic_image(index, number, size=size, seed=seed).save(temporary, format="JPEG", quality=95)


def synthetic_image(class_index: int, number: int, *, size: int, seed: int) -> Image.Image:
    """One RGB picture of `size` x `size` pixels."""
    style = np.random.default_rng([seed, class_index])
    own = np.random.default_rng([seed, class_index, number])
    image = _ground(style.random(), own, size)
    pen = ImageDraw.Draw(image)
    kind, hue = int(style.integers(3)), style.random()
    for _ in range(int(style.integers(1, 4))):
        _shape(pen, kind, _colour(hue + own.normal(0, 0.03), 0.8, own.uniform(0.5, 1)), own, size)
    return image.filter(ImageFilter.GaussianBlur(size / 128))


def _colour(hue: float, saturation: float, value: float) -> tuple[int, int, int]:
    return tuple(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue % 1, saturation, value))


def _ground(hue: float, own: np.random.Generator, size: int) -> Image.Image:
    """A slanted gradient in the class's hue with a little grain."""
    rows, columns = np.mgrid[0:size, 0:size] / size
    angle = own.uniform(0, 2 * np.pi)
    slope = (0.5 + 0.35 * (np.cos(angle) * (columns - 0.5) + np.sin(angle) * (rows - 0.5)))[..., None]  # [H, W, 1]
    colour = np.array(_colour(hue, 0.5, 1.0))
    grain = own.normal(0, 6, (size, size, 3))
    return Image.fromarray((slope * colour + grain).clip(0, 255).astype(np.uint8))


def _shape(pen: ImageDraw.ImageDraw, kind: int, colour: tuple, own: np.random.Generator, size: int) -> None:
    radius = own.uniform(0.12, 0.3) * size
    x, y = own.uniform(0.2, 0.8, 2) * size
    box = (x - radius, y - radius * own.uniform(0.5, 1), x + radius, y + radius * own.uniform(0.5, 1))
    if kind == 0:
        pen.ellipse(box, fill=colour)
    elif kind == 1:
        pen.rectangle(box, fill=colour)
    else:
        pen.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=colour)
