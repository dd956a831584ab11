"""What a row lacks is named at once, before anything is downloaded or drawn."""

import dataclasses
from pathlib import Path

import pytest

from eval.errors import RunError
from eval.generation.pipelines import ModelConfig
from eval.metrics.networks.weights import HubFile, WeightFile
from eval.metrics.profiles import RealMetrics
from eval.reference import ReferenceConfig
from scripts.jobs import needs, stand_in
from scripts.jobs.job import preflight
from scripts.jobs.stand_in import CannotMeasureError, model_to_time

SD15 = ModelConfig("sd15", repo="a/b", revision="0" * 40)


@pytest.fixture
def lacking(smallest_row, monkeypatch, tmp_path):
    """A row of which device, a weight file, the reference and its labels are wrong; its downloads must not begin."""
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("it downloaded something"))
    monkeypatch.setattr("eval.downloads.hub.listing", lambda *_: pytest.fail("it asked the hub"))
    monkeypatch.setenv("RETOM_CACHE", str(tmp_path / "empty"))
    row = smallest_row("method=none")
    inception = dataclasses.replace(RealMetrics().inception, path="/no/inception.pt")
    reference = ReferenceConfig(path="/mistyped", labels="/no/labels.txt")
    sampler = dataclasses.replace(row.sampler, device="cuda:7")
    return dataclasses.replace(row, metrics=RealMetrics(inception), reference=reference, sampler=sampler)


def test_all_of_it_is_named_in_one_line(lacking, session) -> None:
    with pytest.raises(RunError) as caught:
        preflight(lacking, session)
    message = str(caught.value)
    assert message.startswith("4 things are missing: (1) device=cuda:7 was requested")
    assert "(2) the weights /no/inception.pt of a metric do not exist" in message
    assert "(3) reference folder /mistyped does not exist" in message
    assert "(4) reference.labels=/no/labels.txt is not a file" in message
    assert "\n" not in message


def test_a_single_one_is_said_as_it_is(lacking, smallest_row, session) -> None:
    row = dataclasses.replace(smallest_row("method=none"), reference=lacking.reference)
    row = dataclasses.replace(row, reference=ReferenceConfig(path="/mistyped"))
    with pytest.raises(RunError, match=r"^reference folder /mistyped does not exist or is not a folder"):
        preflight(row, session)


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


def test_weight_files_of_ones_own_need_no_download(smallest_row, tmp_path) -> None:
    (tmp_path / "own.pt").write_bytes(b"x")
    (tmp_path / "own.safetensors").write_bytes(b"x")
    assert WeightFile("net.pt", "http://x", "0" * 64, path=str(tmp_path / "own.pt")).is_here()
    assert HubFile("a/b", "x.safetensors", path=str(tmp_path / "own.safetensors")).is_here()


def test_random_weights_stand_in_for_a_model_that_is_not_here(smallest_row, monkeypatch) -> None:
    row = dataclasses.replace(smallest_row("method=none"), model=SD15)
    found = model_to_time(row)
    assert (found.kind, found.architecture) == ("random", "sd15")
    monkeypatch.setattr(stand_in, "free_memory", lambda _: 1 << 30)
    with pytest.raises(CannotMeasureError, match=r"sd15_random need 4\.80 GiB of memory in float32, cpu has 1\.00"):
        model_to_time(row)
    with pytest.raises(CannotMeasureError, match=r"conf/model has no mine_random\.yaml"):
        model_to_time(dataclasses.replace(row, model=dataclasses.replace(SD15, name="mine")))
