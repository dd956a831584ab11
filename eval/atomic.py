"""Atomic file writes: write a temporary file next to the target, then rename it (atomic within one folder on POSIX)."""

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
    """Yield a temporary path next to `path`. It is renamed to `path` if the block succeeds, otherwise removed.

    The temporary name starts with "." and ends with ".tmp", so readers of the folder skip it. The file is locked while
    its writer is alive, so that `clear` recognises the files of killed writers.
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
    """Remove the temporary files that killed writers left in `folder`, and return their number."""
    removed = 0
    for left in sorted(Path(folder).glob(".*.tmp")):
        try:
            handle = os.open(left, os.O_RDWR | os.O_NOFOLLOW)
        except OSError:  # renamed or removed since it was listed, or not a writer's file
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
            removed += 1
        except OSError:  # its writer is alive, or it cannot be locked or removed
            continue
        finally:
            os.close(handle)
    return removed


def _reserve(path: Path) -> tuple[int, Path]:
    """A new locked temporary file next to `path`, and its handle."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        os.fchmod(handle, 0o644)
        with contextlib.suppress(OSError):  # a file system without locks: nothing is cleared there
            fcntl.flock(handle, fcntl.LOCK_EX)
        if os.fstat(handle).st_nlink:
            return handle, Path(name)
        os.close(handle)  # cleared between creation and locking


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | os.PathLike, value: Any) -> None:
    """Write `value` as JSON at full precision, in the given key order, atomically. ValueError for NaN."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")
