import os
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from eval.errors import RunError
from eval.records.lock import exclusive, shared

HOLD = """
import sys, time, pathlib
from eval.records.lock import exclusive
with exclusive(pathlib.Path(sys.argv[1]), "It"):
    print("held", flush=True)
    time.sleep(600)
"""


def hold(path: Path) -> subprocess.Popen:
    root = Path(__file__).parents[3]
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE, text=True, cwd=root)
    assert holder.stdout.readline() == "held\n"
    return holder


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """Taking the lock would empty what it names."""
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    with pytest.raises(RunError, match=r"\.lock cannot be opened"), exclusive(tmp_path / ".lock", "It"):
        pass
    assert (tmp_path / "precious").read_text() == "kept"


def test_second_process_is_refused_and_kill_releases(tmp_path: Path) -> None:
    path = tmp_path / "folder" / ".lock"
    with hold(path) as holder:
        host = socket.gethostname()
        with (
            pytest.raises(RunError, match=f"^It is being written by process {holder.pid} on host {host};"),
            exclusive(path, "It"),
        ):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with exclusive(path, "It"):
            assert str(os.getpid()) in path.read_text()
    assert path.read_text() == ""


def test_a_second_holder_in_one_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with exclusive(path, "It"):
        with pytest.raises(RunError, match=f"process {os.getpid()}"), exclusive(path, "It"):
            pass
        # The refused attempt must not have taken the holder's lock away.
        with pytest.raises(RunError, match=f"process {os.getpid()}"), exclusive(path, "It"):
            pass


def test_an_error_inside_gives_the_lock_back(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), exclusive(tmp_path / ".lock", "It"):
        raise KeyboardInterrupt
    with exclusive(tmp_path / ".lock", "It"):
        pass


def test_a_place_that_cannot_hold_a_lock(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match="It cannot be locked"), exclusive(tmp_path / "file" / ".lock", "It"):
        pass


def test_a_shared_lock_shares_with_others_and_against_who_wants_it_all(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with shared(path, "It"), shared(path, "It"):
        with pytest.raises(RunError, match=r"^It is being written by"), exclusive(path, "It"):
            pass
        with shared(path, "It"):
            pass
    with exclusive(path, "It"), pytest.raises(RunError, match=r"^It is being written by"), shared(path, "It"):
        pass


def test_who_waits_gets_the_lock_when_its_holder_is_gone(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with hold(path) as holder:
        threading.Timer(0.3, holder.kill).start()
        with exclusive(path, "It", wait=True):
            assert holder.wait() == -signal.SIGKILL
