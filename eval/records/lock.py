"""One writer at a time: an advisory lock on a file, which the system releases however its holder ends."""

import contextlib
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from eval.errors import RunError


def exclusive(path: Path, what: str, *, wait: bool = False) -> contextlib.AbstractContextManager[None]:
    """Hold the lock file `path` for the block. `what` names the locked thing in the message.

    The file is not removed (removing it would let two holders in); it names its holder. The lock is `flock`'s, so the
    system releases it after kill -9. Links are not followed, as their target would be truncated.
    wait: wait for the holder; for short operations.
    RunError: another process holds it (named by process id and host), or the folder cannot hold a lock.
    """
    return _held(path, what, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)


def shared(path: Path, what: str) -> contextlib.AbstractContextManager[None]:
    """Like `exclusive`, but shared among its callers. Shared and exclusive holders exclude each other."""
    return _held(path, what, fcntl.LOCK_SH | fcntl.LOCK_NB)


@contextlib.contextmanager
def _held(path: Path, what: str, operation: int) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        raise RunError(f"{what} cannot be locked: {path} cannot be opened ({error.strerror}).") from error
    try:
        _take(handle, path, what, operation)
        try:
            yield
        finally:
            _release(handle)
    finally:
        os.close(handle)


def _take(handle: int, path: Path, what: str, operation: int) -> None:
    try:
        fcntl.flock(handle, operation)
    except BlockingIOError as error:
        raise RunError(
            f"{what} is being written by {_holder(path)}; wait for it to end, or stop it, then run again."
        ) from error
    except OSError as error:
        raise RunError(
            f"{what} cannot be locked: {path} is on a file system without flock ({error.strerror})."
        ) from error
    holder = json.dumps({"pid": os.getpid(), "host": socket.gethostname()})
    # A full disk must not break the lock: the note is only used in the message.
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
        os.pwrite(handle, holder.encode(), 0)


def _release(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.ftruncate(handle, 0)
    # Explicitly, because a forked child that outlives us shares this handle.
    fcntl.flock(handle, fcntl.LOCK_UN)


def _holder(path: Path) -> str:
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        return f"process {holder['pid']} on host {holder['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process, which has not written its name yet"
