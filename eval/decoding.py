"""Encoded images, and the one conversion of every image to RGB.

Every file is processed in this order:
1. It is decoded to its last byte; a truncated file is an error. Of several frames or pages (GIF, WebP, APNG, TIFF, MPO)
   the first is read.
2. It is rotated by its EXIF orientation, as image viewers do. clean-fid's own reader ignores that tag, so the few
   ImageNet images that have one are upright here and rotated there.
3. It becomes 8-bit RGB by its mode in Pillow:
   * RGB, RGBX, L, 1, P, HSV, YCbCr, CMYK: Pillow's `convert("RGB")`, as in clean-fid. Colour profiles and PNG's gamma
     are not applied. A CMYK JPEG is inverted if it has Adobe's marker, and only then.
   * RGBA, LA, PA, La, RGBa, and a transparent colour or palette entry: composited on white.
   * LAB: to sRGB by LittleCMS.
   * 16 bits a channel: the upper 8. TIFF of 12 bits: the upper 8 of 12. Grey TIFF whose 0 is white is inverted.
   * I: only PNG and PNM, which store 16 bits in it. Other 32-bit integers, and F (floats), are refused: the file does
     not define black and white. Every other mode, and RGB of 16 bits with a transparent colour, is refused too.
No image is cropped or padded. Small images are enlarged by the resize of the network that reads them.
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
from eval.generation.prompts import PromptItem

TRANSPARENT = ("RGBA", "LA", "PA", "La", "RGBa")
OPAQUE = ("RGB", "RGBX", "L", "1", "P", "HSV", "YCbCr", "CMYK", "LAB")
_REPLACE = "replace or remove the file"
_CONVERT = "convert it to 8 bits a channel"


class EncodedImage(Protocol):
    """An encoded image: its name, its location for messages, and its bytes."""

    @property
    def name(self) -> str: ...

    @property
    def place(self) -> str: ...

    def read(self) -> bytes: ...


@dataclass(frozen=True)
class ScoredImage:
    """A generated image on disk. `key` pairs it with the same image of another run; `prompt` is the complete text."""

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
        """The file's bytes. RunError if it cannot be read."""
        return read_file(self.path)


@dataclass(frozen=True)
class ImageSet:
    """Generated images in a fixed order. ValueError if two share a key."""

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
        return contents_hash(map(image_label, self.images), self.images)

    @cached_property
    def class_indices(self) -> np.ndarray:
        """[n] int64."""
        return np.array([image.class_index for image in self.images], dtype=np.int64)


def read_file(path: Path) -> bytes:
    """Bytes of `path`. RunError naming the file if it is missing or unreadable."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RunError(f"image {path} cannot be read: {error.strerror}") from error


def decode(data: bytes, name: str) -> Image.Image:
    """An RGB image from encoded bytes, by the rules at the top of this file. RunError naming the file on failure."""
    try:
        with Image.open(BytesIO(data)) as opened:
            stored = _Stored.of(opened)
            opened.load()
            upright = ImageOps.exif_transpose(opened)
    except UnidentifiedImageError as error:
        raise RunError(f"image {name} does not decode (no image format is recognised); {_REPLACE}") from error
    except (OSError, SyntaxError, ValueError, TypeError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise RunError(f"image {name} does not decode ({error}); {_REPLACE}") from error
    return _to_rgb(upright, stored, name)


@dataclass(frozen=True)
class _Stored:
    """How the samples are stored, which Pillow no longer reports after decoding."""

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
    if image.mode == "CMYK" and stored.inverted:  # Pillow assumes that every CMYK JPEG is Adobe's
        image = ImageChops.invert(image)
    if image.mode in TRANSPARENT or "transparency" in image.info:
        if image.mode == "RGB" and ";16" in stored.raw:
            raise RunError(f"image {name} has 16 bits a channel and a transparent colour; {_CONVERT}")
        return _on_white(_with_alpha(image, stored))
    if image.mode not in OPAQUE:
        kind = {"F": "floats", "I": "32-bit integers"}.get(image.mode, f"mode {image.mode}")
        raise RunError(f"image {name} holds {kind}, whose black and white are not known; {_CONVERT}")
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


def read_rgb(image: EncodedImage) -> Image.Image:
    """Read and decode one image."""
    return decode(image.read(), image.place)


def contents_hash(labels: Iterable[str], images: Iterable[EncodedImage]) -> str:
    """sha256 (hex) over (label, sha256 of bytes) of every image, in order."""
    return hash_of_digests(labels, (hashlib.sha256(image.read()).digest() for image in images))


def hash_of_digests(labels: Iterable[str], digests: Iterable[bytes]) -> str:
    """The `contents_hash` of images of which only the sha256 digests are known."""
    total = hashlib.sha256()
    for label, digest in zip(labels, digests, strict=True):
        total.update(label.encode() + b"\0" + digest)
    return total.hexdigest()


def image_label(image: ScoredImage | PromptItem) -> str:
    """What `ImageSet.hash` covers of an image besides its file."""
    return f"{image.key}\0{image.class_index}\0{image.prompt}"
