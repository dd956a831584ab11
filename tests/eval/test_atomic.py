"""Temporary files: locked while their writer lives, cleared when it does not."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eval.atomic import clear, replacing, write_text
from eval.metrics.feature_cache import cached_array

WRITE = """
import pathlib, sys, time
from eval.atomic import replacing
with replacing(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(600)
"""


def test_only_what_a_dead_writer_left_is_cleared(tmp_path: Path) -> None:
    command = [sys.executable, "-c", WRITE, str(tmp_path / "a.txt")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as writer:
        assert writer.stdout.readline() == "writing\n"
        (left,) = tmp_path.iterdir()
        assert clear(tmp_path) == 0
        os.kill(writer.pid, signal.SIGKILL)
    assert left.exists()
    assert clear(tmp_path) == 1
    assert not list(tmp_path.iterdir())


def test_a_link_is_not_cleared_and_a_result_neither(tmp_path: Path) -> None:
    write_text(tmp_path / "result.txt", "whole")
    (tmp_path / ".a.tmp").symlink_to(tmp_path / "result.txt")
    assert clear(tmp_path) == 0
    assert (tmp_path / "result.txt").read_text() == "whole"


def test_a_writer_in_the_same_process_is_a_living_one(tmp_path: Path) -> None:
    with replacing(tmp_path / "a.txt") as temporary:
        temporary.write_text("a")
        assert clear(tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_features_of_something_else_are_not_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cached_array(tmp_path, ("a",), lambda: np.zeros(3))
    cached_array(tmp_path, ("b",), lambda: np.ones(3))
    a, b = sorted((tmp_path / "features").iterdir())
    b.write_bytes(a.read_bytes())
    assert cached_array(tmp_path, ("a",), lambda: np.zeros(3)).sum() == 0
    assert cached_array(tmp_path, ("b",), lambda: np.ones(3)).sum() == 3
    assert "are damaged (it is an entry of other inputs)" in caplog.text


def test_pickled_features_are_never_read(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cached_array(tmp_path, ("a",), lambda: np.zeros(3))
    (path,) = (tmp_path / "features").iterdir()
    with path.open("wb") as file:
        np.savez(file, values=np.array([{"a": 1}], dtype=object), parts=np.array(["a"]), allow_pickle=True)
    assert cached_array(tmp_path, ("a",), lambda: np.ones(3)).sum() == 3
    assert "allow_pickle=False" in caplog.text
