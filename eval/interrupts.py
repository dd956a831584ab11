"""Ctrl-C, remembered: what libraries raise while it makes its way out of them is no failure of the work.

A library that is interrupted amid closing what it had open, as torch is in its stack of modes and OmegaConf in its
flags, may raise an error of its own in place of KeyboardInterrupt, or let it drop.
"""

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_pressed = threading.Event()


@contextlib.contextmanager
def remembering() -> Iterator[None]:
    """Record a Ctrl-C in this block for `pressed` and `raise_if_pressed`; it raises KeyboardInterrupt as ever.

    Where SIGINT is ignored (a background job) or somebody else's, and in any thread but the main one, nothing changes.
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
    """Raise KeyboardInterrupt if Ctrl-C was pressed: before more work begins, and before an error is dealt with."""
    if pressed():
        raise KeyboardInterrupt


def _press(number: int, frame: FrameType | None) -> None:
    _pressed.set()
    signal.default_int_handler(number, frame)
