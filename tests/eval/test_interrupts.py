"""Ctrl-C that arrives, that another error hides, that is dropped, and that is none of this process's business."""

import contextlib
import signal
import threading

import pytest

from eval.interrupts import pressed, raise_if_pressed, remembering


def press() -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.fixture(autouse=True)
def _usual_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_ctrl_c_raises_as_ever_and_is_remembered() -> None:
    with remembering():
        raise_if_pressed()
        assert not pressed()
        with pytest.raises(KeyboardInterrupt):
            press()
        assert pressed()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_error_in_place_of_ctrl_c_is_obeyed() -> None:
    def closing_badly() -> None:
        try:
            press()
        finally:
            raise RuntimeError("half closed")

    with remembering():
        with pytest.raises(RuntimeError, match="half closed"):
            closing_badly()
        with pytest.raises(KeyboardInterrupt):
            raise_if_pressed()


def test_a_dropped_ctrl_c_is_obeyed() -> None:
    with remembering():
        with contextlib.suppress(KeyboardInterrupt):
            press()
        with pytest.raises(KeyboardInterrupt):
            raise_if_pressed()


def test_the_next_command_knows_nothing_of_it_and_an_inner_one_does() -> None:
    with remembering():
        with contextlib.suppress(KeyboardInterrupt):
            press()
        with remembering():
            assert pressed()
        assert pressed()
    with remembering():
        assert not pressed()


def test_an_ignored_ctrl_c_stays_ignored() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with remembering():
        press()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
        assert not pressed()


def test_a_thread_leaves_the_handler_alone() -> None:
    seen = []

    def work() -> None:
        with remembering():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]
