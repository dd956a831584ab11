"""Files appear whole or not at all: write beside, then rename (POSIX rename is atomic within one folder)."""

import contextlib
import fcntl
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yield a temporary path beside `path`; when the block ends well it is renamed to `path`, otherwise removed.

    The temporary name starts with "." and ends with ".tmp", so no reader of the folder takes it for a result. It is
    locked as long as its writer lives, by which `clear` knows what a killed one left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = _reserve(path)
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
        os.close(handle)


def clear(folder: str | os.PathLike) -> int:
    """Remove the temporary files that killed writers left in `folder`, and none of a living one; how many."""
    removed = 0
    for left in sorted(Path(folder).glob(".*.tmp")):
        try:
            handle = os.open(left, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # renamed or removed since it was listed, or nothing that a writer makes
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
            removed += 1
        except OSError:  # its writer lives, or nothing can be locked or removed here: it stays
            continue
        finally:
            os.close(handle)
    return removed


def _reserve(path: Path) -> tuple[int, Path]:
    """A new locked temporary file beside `path`, and its handle."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.fchmod(handle, 0o644)
        with contextlib.suppress(OSError):  # a file system without locks: nothing is ever cleared there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # cleared between its making and its locking


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as JSON at full precision, keys in the order given, atomically. NaN is refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
