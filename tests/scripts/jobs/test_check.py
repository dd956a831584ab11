"""What a row lacks is named at once, before anything is downloaded or drawn."""

import dataclasses

import pytest

from eval.errors import RunError
from eval.metrics.profiles import RealMetrics
from eval.reference import ReferenceConfig
from eval.run.check import check


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
        check(lacking, session.reference)
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
        check(row, session.reference)
