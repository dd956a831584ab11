"""Ctrl-C that libraries may hide: records it, so that their errors are not mistaken for failures of the work.

A library that is interrupted while it cleans up, such as torch in its mode stack or OmegaConf in its flags, may raise
its own error in place of KeyboardInterrupt, or drop it.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_pressed = threading.Event()


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Record a Ctrl-C in this block for `pressed` and `raise_if_pressed`. KeyboardInterrupt is raised as usual.

    Does nothing if SIGINT is ignored (a background job) or has another handler, or outside of the main thread.
    """
    in_main = threading.current_thread() is threading.main_thread()
    if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    _pressed.clear()
    signal.signal(signal.SIGINT, _press)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pressed() -> bool:
    """Whether Ctrl-C was pressed since the outermost `remembering` began."""
    return _pressed.is_set()


def raise_if_pressed() -> None:
    """Raise KeyboardInterrupt if Ctrl-C was pressed. Call it before more work begins and before handling an error."""
    if pressed():
        raise KeyboardInterrupt


def _press(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    signal.default_int_handler(number, frame)
