"""The image writer: no image is lost or reported before it is on disk, and no thread or temporary file is left."""

import errno
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from PIL import Image

import eval.generation.image_writer
from eval.errors import RunError
from eval.generation.image_writer import ImageWriter
from eval.generation.images import NAN, write_png

LONG = 30.0  # seconds after which a test counts as hanging


def image(value=0.5, side=16):
    return np.random.default_rng(0).random((side, side, 3), dtype=np.float32) * value


def left(folder):
    return sorted(path.name for path in folder.iterdir())


def writers():
    return [thread for thread in threading.enumerate() if thread.name.startswith("image-writer")]


@pytest.fixture(autouse=True)
def _no_thread_is_left():
    yield
    assert writers() == []


@pytest.fixture
def gate(monkeypatch):
    """Writes wait until the gate is set; `gate.begun` are the names that reached it."""
    opened = threading.Event()
    opened.begun = []

    def waiting(path, *rest):
        opened.begun.append(path.name)
        assert opened.wait(LONG)
        write_png(path, *rest)

    monkeypatch.setattr(eval.generation.image_writer, "write_png", waiting)
    yield opened
    opened.set()


def failing_at(monkeypatch, name, error):
    def failing(path, *rest):
        if path.name == name:
            raise error
        write_png(path, *rest)

    monkeypatch.setattr(eval.generation.image_writer, "write_png", failing)


def fail_after(count, folder, error):
    """Queue `count` images, then raise `error` in the loop."""
    with ImageWriter(count, lambda *_: None) as writer:
        for number in range(count):
            writer.put(folder / f"{number}.png", image(side=256))
        raise error


def until(met):
    limit = time.monotonic() + LONG
    while not met():
        assert time.monotonic() < limit
        time.sleep(0.001)


def test_every_file_is_on_disk_when_it_is_reported(tmp_path):
    reported, here = [], threading.current_thread()

    def written(name, flag):
        assert threading.current_thread() is here
        assert (tmp_path / name).exists()
        reported.append((name, flag))

    with ImageWriter(4, written) as writer:
        for number in range(20):
            writer.put(tmp_path / f"{number:02d}.png", image() if number != 3 else image() * np.nan)
        assert len(reported) >= 16
    assert sorted(reported) == [(f"{number:02d}.png", NAN if number == 3 else None) for number in range(20)]
    assert left(tmp_path) == [name for name, _ in sorted(reported)]
    assert np.array_equal(np.asarray(Image.open(tmp_path / "00.png")), (image() * 255).round().astype(np.uint8))


def test_nothing_is_reported_before_it_is_written(tmp_path, gate):
    reported = []
    with ImageWriter(3, lambda *entry: reported.append(entry)) as writer:
        for name in ("a.png", "b.png"):
            writer.put(tmp_path / name, image())
        until(lambda: gate.begun)
        writer.settle()
        assert reported == []
        gate.set()
    assert len(reported) == 2


def test_files_are_begun_in_the_order_of_put(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    names = [f"{number}.png" for number in (3, 1, 2, 0)]
    reported = []
    with ImageWriter(2, lambda name, _: reported.append(name)) as writer:
        for name in names:
            writer.put(tmp_path / name, image())
    assert reported == names


def test_at_most_ahead_images_are_in_memory(tmp_path, gate):
    images, waiting = [], threading.Event()

    def alive():
        return sum(reference() is not None for reference in images)

    def fill():
        with ImageWriter(3, lambda *_: None) as writer:
            for number in range(8):
                pixels = image()
                images.append(weakref.ref(pixels))
                if number == 3:
                    waiting.set()
                writer.put(tmp_path / f"{number}.png", pixels)
                del pixels

    loop = threading.Thread(target=fill)
    loop.start()
    assert waiting.wait(LONG)
    time.sleep(0.2)  # a queue without a bound would have taken all of them by now
    assert alive() == 4  # three queued, and the one that has to wait
    gate.set()
    loop.join(LONG)
    gc.collect()
    assert alive() == 0
    assert len(left(tmp_path)) == 8


@pytest.mark.parametrize("error", [RunError("no space left to write b.png"), OSError(errno.EROFS, "Read-only")])
def test_a_failed_write_ends_the_loop_and_drops_what_is_queued(tmp_path, monkeypatch, error):
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    failing_at(monkeypatch, "1.png", error)
    put, reported = [], []

    def loop():
        with ImageWriter(4, lambda name, _: reported.append(name)) as writer:
            for number in range(100):
                writer.put(tmp_path / f"{number}.png", image())
                put.append(number)

    with pytest.raises(type(error)) as raised:
        loop()
    assert raised.value is error
    assert len(put) <= 6  # the failed one, those ahead of it, and no more than the queue holds
    assert reported == ["0.png"]
    assert "0.png" in left(tmp_path)
    assert "1.png" not in left(tmp_path)
    assert not [name for name in left(tmp_path) if name.endswith(".tmp")]


def test_a_failed_write_of_the_last_image_is_not_missed(tmp_path, monkeypatch):
    failing_at(monkeypatch, "last.png", RunError("no space left"))
    with pytest.raises(RunError, match="no space left"), ImageWriter(2, lambda *_: None) as writer:
        writer.put(tmp_path / "last.png", image())


def test_a_failed_write_is_raised_at_every_call(tmp_path, monkeypatch):
    """Whoever takes it for something that can be tried again meets it again."""
    failing_at(monkeypatch, "a.png", OSError(errno.EIO, "Input/output error"))
    writer = ImageWriter(2, lambda *_: None)
    writer.put(tmp_path / "a.png", image())
    until(lambda: any(future.done() for future in writer._pending))
    for again in (writer.settle, writer.settle, lambda: writer.put(tmp_path / "b.png", image())):
        with pytest.raises(OSError, match="Input/output"):
            again()
    with pytest.raises(OSError, match="Input/output"), writer:
        pass


def test_too_little_memory_is_one_line(tmp_path, monkeypatch):
    """And no MemoryError, for which the batch would be halved."""
    failing_at(monkeypatch, "a.png", MemoryError())
    with pytest.raises(RunError, match=r"memory runs out while .*a\.png is written"), ImageWriter(1, print) as writer:
        writer.put(tmp_path / "a.png", image())


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_was_queued_is_saved_when_the_loop_fails(tmp_path, error):
    with pytest.raises(error):
        fail_after(4, tmp_path, error)
    assert left(tmp_path) == [f"{number}.png" for number in range(4)]


def test_an_error_of_the_loop_goes_first_and_the_lost_file_is_logged(tmp_path, monkeypatch, caplog):
    failing_at(monkeypatch, "0.png", RunError("no space left"))
    with pytest.raises(KeyboardInterrupt):
        fail_after(1, tmp_path, KeyboardInterrupt)
    assert "image 0.png could not be written: no space left" in caplog.text


def test_a_second_ctrl_c_drops_what_is_queued(tmp_path):
    """In a process of its own, since it is the main thread that hears Ctrl-C."""
    script = """
import os, pathlib, sys, threading, time, signal
import numpy as np
import eval.generation.image_writer
from eval.generation.images import write_png
os.cpu_count = lambda: 1

def slow(path, *rest):
    if path.name == "0.png":
        print("begun", flush=True)
        time.sleep(1)
    write_png(path, *rest)

eval.generation.image_writer.write_png = slow
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with eval.generation.image_writer.ImageWriter(4, lambda *_: None) as writer:
        for number in range(4):
            writer.put(pathlib.Path(sys.argv[1]) / f"{number}.png", np.zeros((16, 16, 3), np.float32))
        raise KeyboardInterrupt
except KeyboardInterrupt:
    print("threads", threading.active_count(), flush=True)
"""
    process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "begun\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=LONG)[0] == "threads 1\n"
    assert process.returncode == 0
    assert left(tmp_path) == ["0.png"]


def test_a_queue_of_nothing_is_refused():
    with pytest.raises(ValueError, match="ahead must be at least 1, got 0"):
        ImageWriter(0, lambda *_: None)


def test_ctrl_c_amid_starting_a_thread_leaves_no_file_half_written(gate, tmp_path, monkeypatch):
    """A thread that `submit` started and was interrupted in is in nobody's list, so nobody would wait for it."""
    start = threading.Thread.start

    def interrupted(thread):
        start(thread)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), ImageWriter(2, lambda *_: None) as writer:  # noqa: PT012
        monkeypatch.setattr(threading.Thread, "start", interrupted)
        for name in "ab":
            writer.put(tmp_path / f"{name}.png", image())
        monkeypatch.setattr(threading.Thread, "start", start)
        threading.Timer(0.2, gate.set).start()
        raise KeyboardInterrupt
    assert left(tmp_path) == ["a.png", "b.png"]
