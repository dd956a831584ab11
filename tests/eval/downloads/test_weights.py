import hashlib
import multiprocessing

import pytest

from eval.downloads import fetching
from eval.downloads.digests import file_sha256
from eval.downloads.weights import HubFile, WeightFile, cache_folder
from eval.errors import RunError
from tests.hub.server import Fault, serving

CONTENT = b"weights" * 5000
DIGEST = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("RETOM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(fetching, "WAITS", (0.01, 0.02))


@pytest.fixture
def server(tmp_path):
    """A server of the weights that takes its time, and of another file under the path `short`."""
    folder = tmp_path / "root" / "plain"
    folder.mkdir(parents=True)
    (folder / "net.pt").write_bytes(CONTENT)
    (folder / "short").write_bytes(CONTENT[:-7])
    with serving(tmp_path / "root") as server:
        server.fault = Fault(wait=0.3)
        server.url = f"{server.address}/plain"
        yield server


def test_fetched_once_and_found_again(server, tmp_path):
    weights = WeightFile("net.pt", f"{server.url}/net.pt", DIGEST)
    path = weights.locate()
    assert path == tmp_path / "cache" / "weights" / "net.pt"
    assert path.read_bytes() == CONTENT
    assert weights.locate() == path
    assert server.requests.total() == 1


def test_two_processes_fetch_once(server):
    weights = WeightFile("net.pt", f"{server.url}/net.pt", DIGEST)
    processes = [multiprocessing.get_context("spawn").Process(target=weights.locate) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0]
    assert server.requests.total() == 1


def test_a_damaged_cached_file_is_fetched_again_and_said(server, tmp_path, caplog):
    path = tmp_path / "cache" / "weights" / "net.pt"
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT[:100])
    assert WeightFile("net.pt", f"{server.url}/net.pt", DIGEST).locate().read_bytes() == CONTENT
    assert "damaged" in caplog.text


def test_a_wrong_download_leaves_nothing(server, tmp_path):
    with pytest.raises(RunError, match=r"net\.pt cannot be downloaded from .*/short \(the downloaded file has sha256"):
        WeightFile("net.pt", f"{server.url}/short", DIGEST).locate()
    assert [path.name for path in (tmp_path / "cache" / "weights").iterdir() if "lock" not in path.name] == []


def test_no_network_says_file_source_and_place(tmp_path):
    with pytest.raises(
        RunError, match=r"net\.pt cannot be downloaded from http://127\.0\.0\.1:9/net\.pt .* put it at .*cache"
    ):
        WeightFile("net.pt", "http://127.0.0.1:9/net.pt", DIGEST).locate()


def test_offline_does_not_try(server, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RunError, match="HF_HUB_OFFLINE is set"):
        WeightFile("net.pt", f"{server.url}/net.pt", DIGEST).locate()
    assert server.requests.total() == 0


def test_a_file_of_ones_own(tmp_path):
    own = tmp_path / "own.pt"
    with pytest.raises(RunError, match=r"own\.pt do not exist; put http://x there"):
        WeightFile("net.pt", "http://x", DIGEST, path=str(own)).locate()
    own.write_bytes(b"other")
    with pytest.raises(RunError, match=r"have sha256 .* expected"):
        WeightFile("net.pt", "http://x", DIGEST, path=str(own)).locate()
    own.write_bytes(CONTENT)
    assert WeightFile("net.pt", "http://x", DIGEST, path=str(own)).locate() == own
    assert file_sha256(own) == DIGEST


def test_bad_values():
    with pytest.raises(ValueError, match="sha256 must be 64"):
        WeightFile("net.pt", "http://x", "abc")
    with pytest.raises(ValueError, match=r"must be a \.safetensors file, got 'model\.bin'"):
        HubFile("a/b", "model.bin")


def test_the_hub_without_network_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(RunError, match=r"model\.safetensors of a/b .* not cached and cannot be downloaded"):
        HubFile("a/b", "model.safetensors").locate()


def test_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("RETOM_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "retom"
