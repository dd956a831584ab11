"""Pictures as bytes, and the one way in which every picture becomes RGB.

What is done to a file, in this order, whatever its kind:
1. it is decoded to its last byte (a truncated file is an error, not a picture with a grey foot);
2. it is turned upright by its EXIF orientation, as any viewer shows it. clean-fid's own reader ignores that tag, so the
   few ImageNet pictures that carry one are seen upright here and lying there;
3. 16-bit grey is scaled to 8 bits; what is transparent is laid on white; everything else (grey, palette, CMYK) goes
   through Pillow's `convert("RGB")`, as in clean-fid.
No picture is cropped or padded; tiny ones are enlarged by the resize of the network that reads them.
"""

import hashlib
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image, ImageOps

from eval.errors import RunError


class Picture(Protocol):
    """Anything that has a name and yields the bytes of an encoded picture."""

    @property
    def name(self) -> str: ...

    def read(self) -> bytes: ...


@dataclass(frozen=True)
class ScoredImage:
    """A generated picture on disk: `key` pairs it with the same picture of another run, `prompt` is the whole text."""

    key: str
    class_index: int
    prompt: str
    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        """The file's bytes. RunError when it cannot be read."""
        return read_file(self.path)


@dataclass(frozen=True)
class ImageSet:
    """Generated pictures in a fixed order. ValueError when two share a key."""

    images: tuple[ScoredImage, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "images", tuple(self.images))
        if len({image.key for image in self.images}) != len(self.images):
            raise ValueError("ImageSet.images must have one key per image, got a key twice")

    def __len__(self) -> int:
        return len(self.images)

    @cached_property
    def hash(self) -> str:
        """sha256 (hex) over keys, classes, prompts and the bytes of every file, in order."""
        labels = (f"{image.key}\0{image.class_index}\0{image.prompt}" for image in self.images)
        return contents_hash(labels, self.images)

    @cached_property
    def class_indices(self) -> np.ndarray:
        """[n] int64."""
        return np.array([image.class_index for image in self.images], dtype=np.int64)


def read_file(path: Path) -> bytes:
    """Bytes of `path`; a RunError that names the file when it is missing or unreadable."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RunError(f"picture {path} cannot be read: {error.strerror}") from error


def decode(data: bytes, name: str) -> Image.Image:
    """An RGB picture from encoded bytes, by the rules at the top of this file. RunError naming the file if it fails."""
    try:
        with Image.open(BytesIO(data)) as opened:
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise RunError(f"picture {name} does not decode ({error}); replace or remove the file") from error
    return _to_rgb(upright)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image, dtype=np.uint16) >> 8).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return image.convert("RGB")


def read_rgb(picture: Picture) -> Image.Image:
    """Read and decode one picture."""
    return decode(picture.read(), picture.name)


def contents_hash(labels: Iterable[str], pictures: Iterable[Picture]) -> str:
    """sha256 (hex) over (label, sha256 of bytes) of every picture, in order."""
    total = hashlib.sha256()
    for label, picture in zip(labels, pictures, strict=True):
        total.update(label.encode() + b"\0" + hashlib.sha256(picture.read()).digest())
    return total.hexdigest()
