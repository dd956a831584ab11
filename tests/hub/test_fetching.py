"""A weight file over bad connections: it goes on where it was, is checked by hash, and every failure is one line."""

import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from eval.downloads import fetching, progress
from eval.downloads.weights import WeightFile
from eval.errors import RunError
from tests.faults.workshop import small_disk
from tests.hub.conftest import ROOT
from tests.hub.server import Fault, serving

CONTENT = os.urandom(400_000)
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _short_waits(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "WAITS", (0.01, 0.02))
    monkeypatch.setenv("RETOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def hub(tmp_path):
    (tmp_path / "root" / "plain").mkdir(parents=True)
    (tmp_path / "root" / "plain" / "net.pt").write_bytes(CONTENT)
    with serving(tmp_path / "root") as hub:
        yield hub


@pytest.fixture
def weights(hub):
    return WeightFile("net.pt", f"{hub.address}/plain/net.pt", DIGEST)


def partial(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "weights" / ".net.pt.partial"


@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_connection_goes_on_where_it_was(weights, hub, reset, caplog):
    hub.fault = Fault(cut=150_000, times=2, reset=reset)
    assert weights.locate().read_bytes() == CONTENT
    assert hub.requests["GET /plain/net.pt"] == 3
    assert hub.bytes_sent <= len(CONTENT) + (2 * 150_000 if reset else 0)  # what a reset throws away is sent again
    assert "trying again in" in caplog.text


def test_more_cuts_than_tries_do_not_matter_while_bytes_come(weights, hub):
    hub.fault = Fault(cut=50_000)
    assert weights.locate().read_bytes() == CONTENT
    assert hub.bytes_sent == len(CONTENT)


def test_another_process_goes_on_where_the_first_was_killed(weights, hub, tmp_path):
    hub.fault = Fault(pace=200_000)
    module = "eval.downloads.weights"
    code = f"from {module} import WeightFile; WeightFile('net.pt', {weights.url!r}, {DIGEST!r}).locate()"
    first = subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT)})
    while not (partial(tmp_path).exists() and partial(tmp_path).stat().st_size >= 65_536):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    came, hub.fault, before = partial(tmp_path).stat().st_size, Fault(times=0), hub.bytes_sent
    assert weights.locate().read_bytes() == CONTENT
    assert hub.bytes_sent - before <= len(CONTENT) - came + 2 * 65_536  # the killed one's request may still be served
    assert not partial(tmp_path).exists()


@pytest.mark.parametrize("left", [b"of another file" * 1000, CONTENT + b"longer"], ids=["other", "longer"])
def test_what_is_left_of_another_file_is_not_saved(weights, tmp_path, left):
    partial(tmp_path).parent.mkdir(parents=True)
    partial(tmp_path).write_bytes(left)
    assert weights.locate().read_bytes() == CONTENT


REFUSED = "http://127.0.0.1:9/net.pt"
FAULTS = {
    "cut at once": (Fault(cut=1, times=-1, where="none"), "the connection was refused", REFUSED),
    "portal": (Fault(portal="page"), "a web page instead of the file", None),
    "redirect to a portal": (Fault(portal="redirect"), "a web page|redirect", None),
    "network login": (Fault(status=511), "a web page instead", None),
    "busy": (Fault(status=503), "the server answers 503 Service Unavailable", None),
    "gone": (Fault(status=404), "the server answers 404 Not Found", None),
    "flipped": (Fault(flip=True), f"the downloaded file has sha256 .*, expected {DIGEST}", None),
    "short": (Fault(short=7), "the downloaded file has sha256", None),
    "no such name": (Fault(times=0), "the server's name cannot be resolved", "http://nowhere.invalid/net.pt"),
}


@pytest.mark.parametrize("case", FAULTS)
def test_every_failure_is_one_line_with_its_own_cause(hub, case, tmp_path):
    hub.fault, cause, url = FAULTS[case]
    with pytest.raises(RunError, match=rf"net\.pt cannot be downloaded from .*\(.*{cause}") as caught:
        WeightFile("net.pt", url or f"{hub.address}/plain/net.pt", DIGEST).locate()
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(
        f"download it elsewhere and put it at {tmp_path / 'cache' / 'weights' / 'net.pt'}"
    )


def test_three_tries_and_no_more(weights, hub):
    hub.fault = Fault(status=503)
    with pytest.raises(RunError):
        weights.locate()
    assert hub.requests["GET /plain/net.pt"] == 3
    hub.fault = Fault(status=503, times=2)
    assert weights.locate().is_file()


def test_a_server_that_says_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(fetching, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/net.pt"
        with pytest.raises(RunError, match="the connection timed out"):
            WeightFile("net.pt", url, DIGEST).locate()


def test_a_disk_without_room_is_noticed_before_the_download(weights, tmp_path, monkeypatch):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(RunError, match=r"net\.pt: 390\.6 KiB are needed at .*weights, 1000 B are free; make room"):
        weights.locate()
    assert not partial(tmp_path).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_disk_that_fills_meanwhile(weights, tmp_path, monkeypatch):
    usage = shutil.disk_usage("/")
    with small_disk(tmp_path / "cache", "100k"):
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
        with pytest.raises(RunError, match=r"\(the disk is full at .*net\.pt\.partial\); make room"):
            weights.locate()


def test_size_and_progress_are_logged_without_a_terminal(weights, hub, caplog, monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.3)
    hub.fault = Fault(pace=300_000)
    caplog.set_level(logging.INFO)
    weights.locate()
    lines = [record.getMessage() for record in caplog.records if record.levelno == logging.INFO]
    assert lines[0] == "net.pt: downloading 390.6 KiB"
    assert 1 <= len(lines) - 1 <= 5
    assert all(line.endswith("%)") and " KiB of 390.6 KiB (" in line for line in lines[1:])


def test_a_bar_is_shown_on_a_terminal(weights, capsys, monkeypatch):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    weights.locate()
    shown = capsys.readouterr().err
    assert "net.pt" in shown
    assert "391k/391k" in shown


def test_errors_that_are_none_of_a_download_pass(weights, monkeypatch):
    monkeypatch.setattr(fetching, "file_sha256", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        weights.locate()
