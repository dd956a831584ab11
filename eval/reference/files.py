"""The image files of a folder, with one warning line about the entries that are skipped.

An image is a regular file, not hidden, with an extension that the installed Pillow registers for a format it decodes
to pixels. That excludes PostScript (EPS, PS), video (MPEG), formats that are only recognised (BUFR, GRIB, HDF5, WMF)
and formats that are only written (PDF, PALM). Case is ignored. Subfolders are not searched.
"""

import functools
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from eval.decoding import EncodedImage, read_file

NO_IMAGES = ("EPS", "MPEG")
# Files that belong to no data set, written by file managers.
IGNORED = ("thumbs.db", "desktop.ini")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FileImage:
    """An image file; `name` is its original file name."""

    name: str
    path: Path

    @property
    def place(self) -> str:
        """The full path, for messages: class folders often contain the same file names."""
        return str(self.path)

    def read(self) -> bytes:
        """The file's bytes. RunError if it cannot be read."""
        return read_file(self.path)


@dataclass
class Skipped:
    """Entries of a reference folder that were skipped, by reason."""

    found: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, reason: str, path: Path) -> None:
        """Record `path` under `reason`."""
        self.found.setdefault(reason, []).append(path)

    def report(self, folder: Path) -> None:
        """Log one warning with the count and first entry of each reason, if there are any."""
        if self.found:
            parts = (
                f"{len(paths)} {reason} (first: {min(paths).relative_to(folder)})"
                for reason, paths in self.found.items()
            )
            _log.warning("Reference folder %s: skipped %s.", folder, "; ".join(parts))


@functools.cache
def image_endings() -> frozenset[str]:
    """Extensions such as ".jpeg" that the installed Pillow reads, by the rule at the top of this file."""
    from PIL import Image, ImageFile

    Image.init()

    def decodes(form: str) -> bool:
        opener = Image.OPEN.get(form, (None,))[0]
        stub = isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)
        return form == "MPO" or (opener is not None and not stub and form not in NO_IMAGES)  # JPEG's reader opens MPO

    return frozenset(ending for ending, form in Image.registered_extensions().items() if decodes(form))


def image_files(folder: Path, skipped: Skipped) -> list[EncodedImage]:
    """The images in `folder` by name; all other entries are added to `skipped`."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_image(entry, skipped))
    return [FileImage(name, folder / name) for name in names]


def _is_image(entry: os.DirEntry, skipped: Skipped) -> bool:
    path = Path(entry.path)
    if entry.name.startswith(".") or entry.name.lower() in IGNORED:
        return False
    if entry.is_dir():
        if holds_images(path):
            skipped.add("nested folders with images", path)
        return False
    if not entry.is_file():
        skipped.add("broken links" if entry.is_symlink() else "entries that are not files", path)
        return False
    if not has_image_ending(path):
        skipped.add("files without an image extension", path)
        return False
    return True


def has_image_ending(path: Path) -> bool:
    """Whether the file's extension is one that Pillow reads."""
    return path.suffix.lower() in image_endings()


def holds_images(folder: Path) -> bool:
    """Whether the folder or a subfolder contains an image."""
    return any(has_image_ending(path) for path in folder.rglob("*"))
