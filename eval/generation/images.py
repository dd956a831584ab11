"""Image files of a run: written atomically, flagged if invalid, checked when read."""

import dataclasses
import errno
import io
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, PngImagePlugin

from eval.atomic import replacing
from eval.errors import RunError
from eval.generation.prompts import PromptItem

FLAG = "invalid"  # keyword of the PNG text chunk
NAN, CONSTANT = "nan", "constant"  # its values

# exceptions of Pillow's PNG reader for a damaged file
DAMAGED = (OSError, SyntaxError, ValueError, struct.error, zlib.error)


@dataclasses.dataclass(frozen=True)
class ImageCheck:
    """File names by problem. `foreign` are files in the folder that are not part of the run.

    `intact` is the number of the run's files that can be scored, including flagged ones (`nan`, `constant`).
    """

    intact: int
    missing: tuple[str, ...] = ()
    broken: tuple[str, ...] = ()
    nan: tuple[str, ...] = ()
    constant: tuple[str, ...] = ()
    foreign: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether every requested file exists and is intact."""
        return not self.missing and not self.broken

    @property
    def invalid_share(self) -> float:
        """Share of the intact files that are flagged, 0 if there are none."""
        return (len(self.nan) + len(self.constant)) / self.intact if self.intact else 0.0


def write_png(path: Path, image: np.ndarray, flag: str | None = None) -> None:
    """Write `image` [H, W, 3] uint8 as PNG, atomically, with `flag` in a text chunk. RunError if the disk is full.

    Compression level 1: writing time counts in the run, and file size is not a constraint.
    """
    text = PngImagePlugin.PngInfo()
    if flag:
        text.add_text(FLAG, flag)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1, pnginfo=text)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(buffer.getvalue())
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise RunError(
            f"no space left to write {path}; free some and start the run again, finished images are reused"
        ) from error


def to_uint8(image: np.ndarray) -> tuple[np.ndarray, str | None]:
    """A float image [H, W, 3] in [0, 1] as uint8, and its flag: an image with NaN or infinity is black and flagged."""
    if not np.isfinite(image).all():
        return np.zeros(image.shape, np.uint8), NAN
    pixels = (image * 255).round().astype(np.uint8)
    return pixels, CONSTANT if is_constant(pixels) else None


def is_constant(pixels: np.ndarray) -> bool:
    """Whether all pixels of [H, W, 3] are equal."""
    return bool((pixels == pixels[:1, :1]).all())


def is_intact(path: Path, size: tuple[int, int] | None = None) -> bool:
    """Whether `path` is a PNG with valid checksums in every chunk, of `size` (width, height) if given.

    The checksums cover every byte, so nothing is decompressed. A link is not an image of a run: it may point outside
    of the run's folder.
    """
    if path.is_symlink():
        return False
    try:
        with Image.open(path, formats=("PNG",)) as image:
            if size is not None and image.size != size:
                return False
            image.verify()
    except DAMAGED:
        return False
    return True


def read_flag(path: Path) -> str | None:
    """The flag of an intact file: "nan", "constant" or None. A file without the text chunk is decoded and checked."""
    with Image.open(path, formats=("PNG",)) as image:
        written = image.info.get(FLAG)
        if written in (NAN, CONSTANT):
            return written
        # a constant image is far smaller than this, so larger files need not be decoded
        if path.stat().st_size * 10 > image.width * image.height * 3:
            return None
        return CONSTANT if is_constant(np.asarray(image.convert("RGB"))) else None


def verify(items: Sequence[PromptItem], folder: Path, size: tuple[int, int] | None = None) -> ImageCheck:
    """Compare `folder` with the files of `items`. Changes nothing.

    size: (width, height) that every image must have; others count as broken. Temporary files of a running or killed
    process are skipped.
    """
    folder = Path(folder)
    present = _names(folder)
    wanted = [item.file for item in items]
    found = [name for name in wanted if name in present]
    broken = {name for name in found if not is_intact(folder / name, size)}
    flags = {name: read_flag(folder / name) for name in found if name not in broken}
    return ImageCheck(
        intact=len(flags),
        missing=tuple(name for name in wanted if name not in present),
        broken=tuple(sorted(broken)),
        nan=tuple(name for name, flag in flags.items() if flag == NAN),
        constant=tuple(name for name, flag in flags.items() if flag == CONSTANT),
        foreign=tuple(sorted(present - set(wanted))),
    )


def _names(folder: Path) -> set[str]:
    if not folder.is_dir():
        return set()
    names = {path.name for path in folder.iterdir()}
    return {name for name in names if not (name.startswith(".") and name.endswith(".tmp"))}
