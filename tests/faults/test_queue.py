"""kill -9, Ctrl-C, a full disk and an error while images are queued or half-written by the threads of the writer."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from tests.faults.workshop import RUN, TABLES, Process, hold_until, images, small_disk, temporary

pytestmark = pytest.mark.faults
SECONDS = 2.0  # that a file stays half-written; the next image is generated meanwhile
ADVICE = ("make room", "free some")
INTERRUPTED = "interrupted: finished work is saved; run the same command again to resume"


def half_written(folder: Path) -> int:
    return sum(".png." in path.name for path in temporary(folder / "results"))


def started(server, folder: Path, count: int) -> Process:
    """A run whose first `count` images are half-written."""
    process = server.start("scripts.run", *RUN, folder=folder, sabotage={"slow_images": {"seconds": SECONDS}})
    hold_until(lambda: half_written(folder) == count, process)
    return process


@pytest.mark.parametrize("count", [1, 2])
def test_kill_while_images_are_half_written(count: int, trial, server, tmp_path: Path) -> None:
    with trial("kill -9 within a write", f"{count} images half-written") as one:
        process = started(server, tmp_path, count)
        process.signal(signal.SIGKILL)
        assert process.wait() == -9
        assert half_written(tmp_path) == count
        assert images(tmp_path / "results").keys() == {
            str(path.relative_to(tmp_path / "results")) for path in temporary(tmp_path / "results")
        }
        one.recover(tmp_path, says="has no record yet")


@pytest.mark.parametrize("count", [1, 2])
def test_ctrl_c_while_images_are_half_written(count: int, trial, server, whole, tmp_path: Path) -> None:
    with trial("Ctrl-C", f"{count} images half-written") as one:
        process = started(server, tmp_path, count)
        process.signal(signal.SIGINT)
        assert process.wait() == 130, process.printed
        assert INTERRUPTED in process.printed
        assert "Traceback" not in process.printed
        assert temporary(tmp_path / "results") == []
        saved = images(tmp_path / "results")
        assert len(saved) >= count  # what was being written is saved
        assert saved.items() <= whole.images.items()
        one.recover(tmp_path, says="has no record yet")


def test_a_second_ctrl_c_while_the_first_waits_for_the_files(trial, server, whole, tmp_path: Path) -> None:
    with trial("Ctrl-C", "twice, images half-written") as one:
        process = started(server, tmp_path, 1)
        for _ in range(2):
            process.signal(signal.SIGINT)
            time.sleep(0.3)
        assert process.wait() == 130, process.printed
        assert INTERRUPTED in process.printed
        assert "Traceback" not in process.printed
        assert temporary(tmp_path / "results") == []
        assert images(tmp_path / "results").items() <= whole.images.items()
        one.recover(tmp_path, says="has no record yet")


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root to be mounted")
def test_full_disk_in_the_middle_of_an_image(trial, server, tmp_path: Path) -> None:
    with trial("full disk", "images half-written") as one, small_disk(tmp_path / "disk", "4m") as disk:
        ballast = disk / "ballast"
        sabotage = {"slow_images": {"seconds": 0.3, "ballast": str(ballast)}}
        done = server.run("scripts.run", *RUN, folder=disk, sabotage=sabotage)
        assert done.status == 1, done.printed
        assert any(advice in done.printed for advice in ADVICE), done.printed
        assert "Traceback" not in done.printed
        assert re.search(r"no space left to write \S+\.png; free some", done.printed), done.printed
        assert half_written(disk) == 0
        ballast.unlink()
        one.recover(disk)


def test_the_denoiser_raises_while_an_image_is_half_written(trial, server, whole, tmp_path: Path) -> None:
    with trial("a denoiser that raises", "an image half-written") as one:
        sabotage = {"slow_images": {"seconds": 0.3}, "denoiser_raises": {"call": 4}}
        done = server.run("scripts.run", *RUN, folder=tmp_path, sabotage=sabotage)
        assert done.status == 1
        assert "RuntimeError: injected at call 4" in done.printed
        saved = images(tmp_path / "results")
        assert len(saved) == len(whole.images) - 1  # the first row's first image, and the second row
        assert saved.items() <= whole.images.items()
        built = server.run("scripts.tables", *TABLES, folder=tmp_path)
        assert "is failed: RuntimeError: injected at call 4" in built.printed, built.printed
        one.recover(tmp_path, says="done")
