"""Which files of a folder are images, and one line on what was passed over.

An image is a regular file, not hidden, with an ending that the installed Pillow registers for a format that it decodes
to pixels. That leaves out PostScript (EPS, PS), video (MPEG), formats that are only recognised (BUFR, GRIB, HDF5, WMF)
and those it only writes (PDF, PALM). Upper and lower case are the same. Folders are not searched.
"""

import functools
import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

from eval.pictures import Picture, read_file

NO_IMAGES = ("EPS", "MPEG")
# Files that belong to no data set: what file managers leave behind.
IGNORED = ("thumbs.db", "desktop.ini")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilePicture:
    """A picture file; `name` is its original file name."""

    name: str
    path: Path

    @property
    def place(self) -> str:
        """The whole path, for messages: class folders often hold the same names."""
        return str(self.path)

    def read(self) -> bytes:
        """The file's bytes. RunError when it cannot be read."""
        return read_file(self.path)


@dataclass
class Passed:
    """What was passed over in a reference folder, by reason."""

    found: dict[str, list[Path]] = field(default_factory=dict)

    def add(self, reason: str, path: Path) -> None:
        """Remember `path`."""
        self.found.setdefault(reason, []).append(path)

    def report(self, folder: Path) -> None:
        """One warning that counts what was passed over and names the first of each reason; nothing without any."""
        if self.found:
            parts = (
                f"{len(paths)} {reason} (first: {min(paths).relative_to(folder)})"
                for reason, paths in self.found.items()
            )
            _log.warning("Reference folder %s: passed over %s.", folder, "; ".join(parts))


@functools.cache
def image_endings() -> frozenset[str]:
    """Endings such as ".jpeg" that the installed Pillow reads, by the rule at the top of this file."""
    from PIL import Image, ImageFile

    Image.init()

    def decodes(form: str) -> bool:
        opener = Image.OPEN.get(form, (None,))[0]
        stub = isinstance(opener, type) and issubclass(opener, ImageFile.StubImageFile)
        return form == "MPO" or (opener is not None and not stub and form not in NO_IMAGES)  # JPEG's reader opens MPO

    return frozenset(ending for ending, form in Image.registered_extensions().items() if decodes(form))


def image_files(folder: Path, passed: Passed) -> list[Picture]:
    """The images in `folder` by name; everything else goes to `passed`."""
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if _is_image(entry, passed))
    return [FilePicture(name, folder / name) for name in names]


def _is_image(entry: os.DirEntry, passed: Passed) -> bool:
    path = Path(entry.path)
    if entry.name.startswith(".") or entry.name.lower() in IGNORED:
        return False
    if entry.is_dir():
        if holds_images(path):
            passed.add("nested folders with images", path)
        return False
    if not entry.is_file():
        passed.add("links to nothing" if entry.is_symlink() else "entries that are no files", path)
        return False
    if not has_image_ending(path):
        passed.add("files without an image ending", path)
        return False
    return True


def has_image_ending(path: Path) -> bool:
    """Whether the file's name says that Pillow reads it."""
    return path.suffix.lower() in image_endings()


def holds_images(folder: Path) -> bool:
    """Whether an image is anywhere below `folder`."""
    return any(has_image_ending(path) for path in folder.rglob("*"))
