"""Two processes at once: on one run, on one table, on the first download of one file, and in one distributed run."""

import contextlib
import hashlib
import http.server
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tests.faults.workshop import LONG, ONE, ROOT, RUN, TABLES, copy, hold_until

pytestmark = pytest.mark.faults
WEIGHTS = os.urandom(1 << 16) * 48  # 3 MiB: three reads


class Slow(http.server.BaseHTTPRequestHandler):
    """Serves half of the weights, and the rest when the test lets it."""

    def do_GET(self) -> None:
        self.server.requests += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(WEIGHTS)))
        self.end_headers()
        half = len(WEIGHTS) // 2
        with contextlib.suppress(OSError):  # the one who asked was killed
            self.wfile.write(WEIGHTS[:half])
            self.wfile.flush()
            self.server.rest.wait(120)
            self.wfile.write(WEIGHTS[half:])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def source():
    """A server on this machine; its `requests` counts."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow) as source:
        source.requests, source.rest = 0, threading.Event()
        thread = threading.Thread(target=source.serve_forever)
        thread.start()
        yield source
        source.rest.set()
        source.shutdown()
        thread.join()


def drawing(folder: Path) -> bool:
    return any(folder.glob("results/runs/*/*/images/*.png"))


def test_one_run(trial, server, tmp_path: Path) -> None:
    with trial("two processes", "on one run") as one:
        first = server.start("scripts.run", *RUN, folder=tmp_path)
        hold_until(lambda: drawing(tmp_path), first)
        first.signal(signal.SIGSTOP)  # it holds the run while the second one tries
        try:
            second = server.run("scripts.run", *ONE[:1], "method=none", *ONE[1:], folder=tmp_path)
        finally:
            first.signal(signal.SIGCONT)
        assert second.status == 1
        assert f"is being written by process {first.pid} on host" in second.printed, second.printed
        assert "wait for it to end, or stop it, then run again" in second.printed
        assert first.wait() == 0, first.printed
        one.recover(tmp_path, says="already finished")


def test_one_table(trial, server, whole, tmp_path: Path) -> None:
    with trial("two processes", "on one table") as one:
        folder = copy(whole.folder, tmp_path / "copy")
        for path in folder.glob("results/smoke/*"):
            path.unlink()
        both = [server.start("scripts.tables", *TABLES, folder=folder) for _ in range(2)]
        assert [process.wait() for process in both] == [0, 0], both[0].printed + both[1].printed
        one.same(folder / "results")
        one.recover(folder, says="written: ")


def partial(folder: Path) -> list[Path]:
    """What has come of files that are being downloaded."""
    return sorted(folder.rglob("*.partial"))


def fetch(server, source, folder: Path):
    """Start the fetch of the weights into `folder`."""
    url = f"http://127.0.0.1:{source.server_port}/net.pt"
    options = {"name": "net.pt", "url": url, "sha256": hashlib.sha256(WEIGHTS).hexdigest()}
    environment = {"RETOM_CACHE": str(folder), "HF_HUB_OFFLINE": "0"}
    return server.start("scripts.run", folder=folder, sabotage={"fetch_instead": options}, environment=environment)


def test_one_first_download(trial, server, source, tmp_path: Path) -> None:
    with trial("two processes", "on one first download") as one:
        began = time.monotonic()
        first = fetch(server, source, tmp_path)
        hold_until(lambda: bool(partial(tmp_path)), first)
        second = fetch(server, source, tmp_path)
        hold_until(lambda: "another process is downloading it: waiting" in second.printed, second)
        source.rest.set()
        assert [first.wait(), second.wait()] == [0, 0], first.printed + second.printed
        assert source.requests == 1
        assert "another process is downloading it: waiting" in second.printed
        assert (tmp_path / "weights" / "net.pt").read_bytes() == WEIGHTS
        one.seconds = time.monotonic() - began


def test_a_first_download_whose_process_is_killed(trial, server, source, tmp_path: Path) -> None:
    with trial("two processes", "on one first download, one killed") as one:
        first = fetch(server, source, tmp_path)
        hold_until(lambda: any(path.stat().st_size for path in partial(tmp_path)), first)
        second = fetch(server, source, tmp_path)
        hold_until(lambda: "another process is downloading it: waiting" in second.printed, second)
        first.signal(signal.SIGKILL)
        assert first.wait() == -9
        source.rest.set()
        began = time.monotonic()
        assert second.wait() == 0, second.printed
        one.seconds = time.monotonic() - began
        assert source.requests == 2
        assert "net.pt: downloading" in second.printed
        assert (tmp_path / "weights" / "net.pt").read_bytes() == WEIGHTS
        assert partial(tmp_path) == []


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def ended(pid: int) -> bool:
    """Whether a process that its parent has not waited for is over."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize("noticed", ["by the launcher", "by the other"])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_worker_is_lost(rank: int, noticed: str, trial, tmp_path: Path) -> None:
    with trial("a lost worker of two", f"rank {rank}, noticed {noticed}") as one:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
        output = (tmp_path / "printed").open("w+")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        parent = subprocess.Popen(
            [*command, "-m", "scripts.run", *RUN], stdout=output, stderr=output, cwd=tmp_path, env=environment
        )
        while parent.poll() is None and not drawing(tmp_path):
            time.sleep(0.01)
        workers = sorted(children(parent.pid))
        if noticed == "by the other":  # the launcher would end it within a tenth of a second
            parent.send_signal(signal.SIGSTOP)
        os.kill(workers[rank], signal.SIGKILL)
        if noticed == "by the other":
            limit = time.monotonic() + LONG
            while not ended(workers[1 - rank]):
                assert time.monotonic() < limit, (tmp_path / "printed").read_text()
                time.sleep(0.01)
            parent.send_signal(signal.SIGCONT)
        assert parent.wait(300) != 0
        output.seek(0)
        printed = output.read()
        output.close()
        (tmp_path / "printed").unlink()
        assert f"Signal {signal.SIGKILL.value} (SIGKILL)" in printed, printed
        assert "scripts/run.py" not in printed, printed  # no traceback of ours
        if noticed == "by the other" and rank == 1:  # the main process is left to tell
            assert "error: another process of this launch is gone" in printed, printed
            assert "start the same command again" in printed, printed
        one.recover(tmp_path, says="has no record yet")
