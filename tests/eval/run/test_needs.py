"""The downloads of a row: their sizes, the disk, and servers that do not answer."""

from pathlib import Path

import pytest

from eval.downloads.weights import HubFile, WeightFile
from eval.errors import RunError
from eval.run import needs


def need(name: str, size) -> needs.Need:
    return needs.Need(f"{name} is not here", "host", Path("/"), size)


def test_a_server_that_does_not_answer_is_asked_once(monkeypatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    asked = []

    def silent() -> int:
        asked.append(1)
        raise RunError("it is not available (the connection timed out)") from TimeoutError()

    sizes, both = needs.Sizes(), (need("a", silent), need("b", silent))
    assert [sizes.message(one) for one in both] == [
        "a is not here (size not known: the connection timed out)",
        "b is not here (size not known: the connection timed out)",
    ]
    assert sizes.obstacles(both) == [
        "it is not available (the connection timed out)",
        "b is not here (the connection timed out)",
    ]
    assert len(asked) == 1


def test_sizes_are_summed_up_against_the_disk(monkeypatch) -> None:
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    sizes = needs.Sizes()
    assert sizes.message(need("a", lambda: 3 << 20)) == "a is not here (3.0 MiB)"
    assert sizes.message(need("b", lambda: None)) == "b is not here (size not reported by the server)"
    (sentence,) = sizes.obstacles([need("c", lambda: 1 << 60), need("d", lambda: 1 << 60)])
    assert sentence.startswith("the downloads: 2147483648.00 GiB are needed at /, ")
    assert sentence.endswith("set HF_HOME to a folder on a larger disk")


def test_offline_nothing_is_asked(monkeypatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    one = need("a", lambda: pytest.fail("it asked"))
    assert needs.Sizes().message(one) == "a is not here (size not known: offline)"


def test_weight_files_of_ones_own_need_no_download(tmp_path) -> None:
    (tmp_path / "own.pt").write_bytes(b"x")
    (tmp_path / "own.safetensors").write_bytes(b"x")
    assert WeightFile("net.pt", "http://x", "0" * 64, path=str(tmp_path / "own.pt")).is_here()
    assert HubFile("a/b", "x.safetensors", path=str(tmp_path / "own.safetensors")).is_here()
