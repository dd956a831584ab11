"""Encoding and writing of images in threads while the next batch is generated, so that the device never waits.

NumPy, Pillow's PNG encoder and fsync release the interpreter's lock, so the threads run next to the pipeline's calls.
"""

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

import numpy as np

from eval.errors import RunError
from eval.generation.images import to_uint8, write_png

_log = logging.getLogger(__name__)
_THREADS = 4  # one thread writes a 512 px image in about 50 ms, so four handle 80 images/s


class ImageWriter:
    """A bounded queue of images and the threads that write them, as a context manager.

    ahead: maximum number of images in memory, including those being written. written(name, flag): called for every
    file that is on disk, in the thread that calls `put` or leaves the block.

    Leaving the block waits for every queued image, also if the block raises: generated images are saved. After a
    failed write, or a Ctrl-C while waiting, images that are not being written are dropped. No thread or temporary file
    remains.
    """

    def __init__(self, ahead: int, written: Callable[[str, str | None], None]) -> None:
        if ahead < 1:
            raise ValueError(f"ahead must be at least 1, got {ahead}")
        self._ahead, self._written = ahead, written
        self._pool = _pool_of_started_threads(min(_THREADS, os.cpu_count() or 1))
        self._pending: dict[Future[str | None], str] = {}  # in the order of `put`

    def put(self, path: Path, image: np.ndarray) -> None:
        """Queue `image` [H, W, 3] float in [0, 1] for `path`; waits while the queue is full. Errors as in `settle`."""
        self.settle()
        while len(self._pending) >= self._ahead:
            wait(self._pending, return_when=FIRST_COMPLETED)
            self.settle()
        self._pending[self._pool.submit(_write, path, image)] = path.name

    def settle(self) -> None:
        """Report the files that are on disk now. Raises the error of the first failed write, at every call."""
        for future in [future for future in self._pending if future.done()]:
            flag = future.result()
            self._written(self._pending.pop(future), flag)

    def __enter__(self) -> "ImageWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            wait(self._pending, return_when=FIRST_EXCEPTION)
        finally:
            self._pool.shutdown(cancel_futures=True)
        if kind is None:
            self.settle()
        else:
            self._log_failures(error)

    def _log_failures(self, error: BaseException | None) -> None:
        """Log which files were lost while another error propagates."""
        for future, name in self._pending.items():
            failure = None if future.cancelled() else future.exception()
            if failure is not None and failure is not error:
                _log.warning("image %s could not be written: %s", name, failure)


def _pool_of_started_threads(count: int) -> ThreadPoolExecutor:
    """A pool whose threads are all running: if `submit` is interrupted while starting one, nothing would join it."""
    pool, started = ThreadPoolExecutor(count, thread_name_prefix="image-writer"), threading.Barrier(count)
    try:
        for _ in range(count):
            pool.submit(started.wait)  # no thread is idle before all have started, so each call starts one
    except BaseException:
        started.abort()
        raise
    return pool


def _write(path: Path, image: np.ndarray) -> str | None:
    """Convert, encode and write one image; returns its flag. RunError as in `write_png`, or if memory runs out."""
    try:
        pixels, flag = to_uint8(image)
        write_png(path, pixels, flag)
    except MemoryError as error:  # host memory, which a smaller batch on the device would not help
        raise RunError(f"memory runs out while {path} is written; free memory and start the run again") from error
    return flag
