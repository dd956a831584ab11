"""A sheet of images: two classes per row, each with its name next to it."""

from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont

from eval.atomic import replacing

GAP, LABEL, TEXT = 2, 112, 12  # pixels
COLOURS = 256  # a palette keeps the file below half a megabyte


def write_sheet(images: torch.Tensor, names: list[str], path: Path) -> None:
    """Write uint8 images [classes * columns, 3, H, W], ordered by class, as one PNG with a palette."""
    columns, side = len(images) // len(names), images.shape[-1]
    width, height = LABEL + columns * (side + GAP), side + GAP
    sheet = Image.new("RGB", (2 * width, height * ((len(names) + 1) // 2)), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(TEXT)
    for number, name in enumerate(names):
        left, top = number % 2 * width, number // 2 * height
        pen.text((left + LABEL - 6, top + side // 2), name, fill="black", font=font, anchor="rm")
        for column, image in enumerate(images[number * columns : (number + 1) * columns]):
            thumbnail = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
            sheet.paste(thumbnail, (left + LABEL + column * (side + GAP), top))
    with replacing(path) as temporary:
        sheet.quantize(COLOURS, dither=Image.Dither.FLOYDSTEINBERG).save(temporary, format="PNG", optimize=True)
