"""Small images for the page: encoded as WebP data URIs, and compared with each other."""

import base64
import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from eval.decoding import decode, read_file
from eval.errors import RunError
from eval.metrics.ssim import ssim

SIDE = 256
QUALITY = 80


def thumbnail(path: Path, side: int = SIDE) -> Image.Image:
    """The image in RGB, its longer side at most `side` pixels; never enlarged. RunError: absent or unreadable."""
    image = decode(read_file(path), str(path))
    if max(image.size) > side:
        # Whole-number reduction first: a fraction of the cost of filtering every pixel, and no visible difference.
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=2.0)
    return image


def data_uri(image: Image.Image) -> str:
    """The image as WebP inside a data URI."""
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=QUALITY, method=4)
    return "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def likeness(a: Image.Image, b: Image.Image) -> float | None:
    """SSIM of two small images; None where they cannot be compared (sizes differ, or under 11 pixels)."""
    try:
        return ssim(_tensor(a), _tensor(b))
    except RunError:
        return None


def _tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1).float() / 255  # [3, H, W]
