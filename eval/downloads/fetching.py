"""Download of one file: resumed with HTTP Range, also by another process, and checked by its sha256.

Received bytes are stored next to the target in a partial file, which only the holder of the target's lock writes.
"""

import contextlib
import logging
import os
import shutil
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from filelock import FileLock, Timeout

from eval.downloads.causes import CutError, PortalError, WrongFileError, cause_of, status_of
from eval.downloads.digests import file_sha256
from eval.downloads.progress import progress, readable, so_far
from eval.errors import RunError
from eval.interrupts import raise_if_pressed
from eval.silence import silent_downloads

WAITS = (1.0, 5.0)  # seconds before the second and third attempts
TIMEOUT = 30.0  # seconds without data
CHUNK = 1 << 20
LARGE = 100 << 20  # bytes from which a file gets its own log line

_log = logging.getLogger(__name__)
Result = TypeVar("Result")


@dataclass(frozen=True)
class Source:
    """A file to download. address: returns the URL and headers; called before each attempt, as signed URLs expire."""

    name: str
    address: Callable[[], tuple[str, Mapping[str, str]]]
    sha256: str
    size: int | None = None


def tried(work: Callable[[], Result], what: str, arrived: Callable[[], int] = lambda: 0) -> Result:
    """The result of `work`, attempted up to three times while the network fails.

    arrived: bytes received so far. Progress since the last attempt resets the count.
    """
    failures, before = 0, arrived()
    while True:
        try:
            return work()
        except Exception as error:
            raise_if_pressed()
            cause, now = cause_of(error), arrived()
            if now > before:
                failures = 0
            before = now
            if cause is None or not cause.transient or failures == len(WAITS):
                raise
            _log.warning("%s: %s; trying again in %g s", what, cause.what, WAITS[failures])
            time.sleep(WAITS[failures])
            failures += 1


def fetch(source: Source, target: Path, partial: Path) -> None:
    """Download `source` to `target` through `partial`, resuming it. Raises errors that `cause_of` explains."""
    resumed = partial.exists()
    try:
        _complete(source, partial)
    except WrongFileError as error:
        if not resumed:
            raise
        _log.warning("%s: %s; starting over", source.name, error)
        _complete(source, partial)
    with partial.open("rb") as file:
        os.fsync(file.fileno())
    partial.chmod(0o644)
    partial.replace(target)


def _complete(source: Source, partial: Path) -> None:
    """Complete the partial file. If its digest is wrong, deletes it and raises WrongFileError."""
    tried(lambda: _go_on(source, partial), source.name, lambda: _size(partial))
    found = file_sha256(partial)
    if found != source.sha256:
        partial.unlink()
        raise WrongFileError(f"the downloaded file has sha256 {found}, expected {source.sha256}")


@contextlib.contextmanager
def alone(lock: Path, what: str) -> Iterator[None]:
    """Hold the lock file `lock`. Logs a line if another process holds it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        _log.info("%s: another process is downloading it: waiting", what)
        held.acquire()
    try:
        yield
    finally:
        held.release()


def require_space(needed: int, folder: Path, what: str, variable: str) -> None:
    """RunError if the disk of `folder` has fewer than `needed` free bytes. variable: the setting that moves it."""
    free = free_space(folder)
    if needed > free:
        raise RunError(
            f"{what}: {readable(needed)} are needed at {folder}, {readable(free)} are free; make room, or set "
            f"{variable} to a folder on a larger disk"
        )


def remote_size(address: str) -> int | None:
    """Size in bytes of the file at `address` by a HEAD request; None if not reported. Errors as in `cause_of`."""
    from huggingface_hub import get_session

    with silent_downloads():
        response = get_session().head(address, follow_redirects=True, timeout=TIMEOUT)
    if response.status_code in (403, 405):  # a URL signed for GET only
        return None
    response.raise_for_status()
    if response.headers.get("Content-Type", "").startswith("text/html"):
        raise PortalError(f"{address} is a web page")
    length = response.headers.get("Content-Length")
    return None if length is None else int(length)


def free_space(folder: Path) -> int:
    """Free bytes of the disk of `folder`, which need not exist yet."""
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    return shutil.disk_usage(there).free


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _go_on(source: Source, partial: Path) -> None:
    arrived = _size(partial)
    if source.size is not None and arrived >= source.size:
        if arrived == source.size:
            return
        partial.unlink()
        arrived = 0
    address, headers = source.address()
    try:
        response = _open(address, headers, arrived)
    except OSError as error:
        if status_of(error) != 416:
            raise
        partial.unlink()  # longer than the file, or part of another file
        response = _open(address, headers, 0)
    with response:
        _check_kind(response)
        _receive(response, source, partial, arrived if response.status == 206 else 0)


def _open(address: str, headers: Mapping[str, str], arrived: int) -> Any:
    headers = dict(headers) | {"Accept-Encoding": "identity"}
    request = urllib.request.Request(address, headers=headers)
    if arrived:
        request.add_header("Range", f"bytes={arrived}-")
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        error.close()  # the error is also the response
        raise


def _check_kind(response: Any) -> None:
    if response.headers.get_content_type() in ("text/html", "application/xhtml+xml"):
        raise PortalError(f"{response.url} is a web page")


def _receive(response: Any, source: Source, partial: Path, arrived: int) -> None:
    length = response.headers.get("Content-Length")
    total = source.size if length is None else arrived + int(length)
    if source.size is not None and total != source.size:
        raise WrongFileError(f"the server reports {total} bytes, expected {source.size}")
    if total is not None:
        require_space(total - arrived, partial.parent, source.name, "HF_HOME or RETOM_CACHE")
    if arrived:
        _log.info("%s: resuming at %s", source.name, so_far(arrived, total))
    elif source.size is None or source.size >= LARGE:  # smaller files of known size are reported in total
        _log.info("%s: downloading%s", source.name, "" if total is None else f" {readable(total)}")
    with partial.open("r+b" if arrived else "wb") as file, progress(source.name, arrived, total) as came:
        file.seek(arrived)
        file.truncate()
        while chunk := response.read1(CHUNK):
            with _named(partial):
                file.write(chunk)
                file.flush()
            arrived += len(chunk)
            came(len(chunk))
    if total is not None and arrived < total:
        raise CutError(f"received {arrived} of {total} bytes")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Add the file name to an OSError raised while writing."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
