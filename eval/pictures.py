"""Pictures as bytes, and the one way in which every picture becomes RGB.

What is done to a file, in this order, whatever its kind:
1. it is decoded to its last byte (a truncated file is an error, not a picture with a grey foot); of several frames or
   pages (GIF, WebP, APNG, TIFF, MPO) the first is read;
2. it is turned upright by its EXIF orientation, as any viewer shows it. clean-fid's own reader ignores that tag, so the
   few ImageNet pictures that carry one are seen upright here and lying there;
3. it becomes 8-bit RGB by its mode in Pillow:
   * RGB, RGBX, L, 1, P, HSV, YCbCr, CMYK: Pillow's `convert("RGB")`, as in clean-fid. Colour profiles and PNG's gamma
     are not applied. A CMYK JPEG is inverted if it has Adobe's marker, and only then.
   * RGBA, LA, PA, La, RGBa, and a transparent colour or palette entry: laid on white.
   * LAB: to sRGB by LittleCMS.
   * 16 bits a channel: the upper 8. TIFF of 12 bits: the upper 8 of 12. Grey TIFF whose 0 is white is inverted.
   * I: PNG and PNM alone, which hold 16 bits in it. Other 32-bit integers, and F (floats), are refused: the file does
     not say which values are black and white. So is every other mode, and RGB of 16 bits with a transparent colour.
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
from PIL import Image, ImageChops, ImageOps, UnidentifiedImageError
from PIL.TiffImagePlugin import BITSPERSAMPLE, PHOTOMETRIC_INTERPRETATION

from eval.errors import RunError

TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")
OPAQUE = ("RGB", "RGBX", "L", "1", "P", "HSV", "YCbCr", "CMYK", "LAB")
_REPLACE = "replace or remove the file"
_CONVERT = "convert it to 8 bits a channel"


class Picture(Protocol):
    """Anything that has a name, says where it is, and yields the bytes of an encoded picture."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...

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

    @property
    def place(self) -> str:
        return self.name

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
            stored = _Stored.of(opened)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as error:
        raise RunError(f"picture {name} does not decode (no image format is recognised); {_REPLACE}") from error
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise RunError(f"picture {name} does not decode ({error}); {_REPLACE}") from error
    return _to_rgb(upright, stored, name)


@dataclass(frozen=True)
class _Stored:
    """What Pillow forgets once a file is decoded: how its samples are stored."""

    format: str
    raw: str  # Pillow's raw mode, such as "RGB;16B"
    bits: int
    inverted: bool

    @classmethod
    def of(cls, opened: Image.Image) -> "_Stored":
        arguments = opened.tile[0][3] if getattr(opened, "tile", None) else ""
        raw = arguments if isinstance(arguments, str) else next((a for a in arguments or () if isinstance(a, str)), "")
        tags = opened.tag_v2 if opened.format == "TIFF" else {}
        bits = tags.get(BITSPERSAMPLE, (16,))[0]
        white_is_zero = tags.get(PHOTOMETRIC_INTERPRETATION) == 0 and opened.mode.startswith("I;16")
        no_adobe = opened.format == "JPEG" and opened.mode == "CMYK" and "adobe" not in opened.info
        return cls(opened.format or "", raw, bits, white_is_zero or no_adobe)


def _to_rgb(image: Image.Image, stored: _Stored, name: str) -> Image.Image:
    if image.mode.startswith("I;16") or (image.mode == "I" and stored.format in ("PNG", "PPM")):
        return _from_sixteen_bits(image, stored)
    if image.mode == "CMYK" and stored.inverted:  # Pillow takes every CMYK JPEG for one of Adobe's
        image = ImageChops.invert(image)
    if image.mode in TRANSPARENT or "transparency" in image.info:
        if image.mode == "RGB" and ";16" in stored.raw:
            raise RunError(f"picture {name} has 16 bits a channel and a transparent colour; {_CONVERT}")
        return _on_white(_with_alpha(image, stored))
    if image.mode not in OPAQUE:
        kind = {"F": "floats", "I": "32-bit integers"}.get(image.mode, f"mode {image.mode}")
        raise RunError(f"picture {name} holds {kind}, whose black and white are not known; {_CONVERT}")
    return image.convert("RGB")


def _from_sixteen_bits(image: Image.Image, stored: _Stored) -> Image.Image:
    levels = np.asarray(image).astype(np.int64)  # [H, W]
    grey = (levels >> (stored.bits - 8)).clip(0, 255).astype(np.uint8)
    grey = 255 - grey if stored.inverted else grey
    if "transparency" in image.info:
        grey[levels == image.info["transparency"]] = 255
    return Image.fromarray(grey).convert("RGB")


def _with_alpha(image: Image.Image, stored: _Stored) -> Image.Image:
    """RGBA; the transparent level of a grey PNG of 2 or 4 bits is scaled as its pixels are."""
    key = image.info.get("transparency")
    if image.mode == "L" and isinstance(key, int) and stored.raw in ("L;2", "L;4"):
        image = image.copy()
        image.info["transparency"] = key * (85 if stored.raw == "L;2" else 17)
    return (image.convert("LA") if image.mode == "La" else image).convert("RGBA")


def _on_white(layer: Image.Image) -> Image.Image:
    return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")


def read_rgb(picture: Picture) -> Image.Image:
    """Read and decode one picture."""
    return decode(picture.read(), picture.place)


def contents_hash(labels: Iterable[str], pictures: Iterable[Picture]) -> str:
    """sha256 (hex) over (label, sha256 of bytes) of every picture, in order."""
    total = hashlib.sha256()
    for label, picture in zip(labels, pictures, strict=True):
        total.update(label.encode() + b"\0" + hashlib.sha256(picture.read()).digest())
    return total.hexdigest()
