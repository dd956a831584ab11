"""The stages of a real row, and the rows of a real sweep, as a long run would report them."""

import pytest

import scripts.jobs.session
import scripts.run
from eval.progress import Progress
from tests.scripts.conftest import SMALLEST


@pytest.fixture
def heads(monkeypatch) -> list[str]:
    """Everything that the stages of the following runs are called, in order."""
    found: list[str] = []

    class Watched(Progress):
        def head(self, what: str) -> str:
            found.append(super().head(what))
            return found[-1]

    monkeypatch.setattr(scripts.jobs.session, "Progress", Watched)
    return found


def test_a_sweep_counts_its_rows_and_names_its_stages(command, heads: list[str]) -> None:
    timing = ["timing=smoke", "timing.warmup=0", "timing.images=1"]
    assert command(scripts.run, "--multirun", *SMALLEST, *timing, "sampler.steps=1", "method=none,retom") == 0
    output = [head.replace("single/", "").partition("-")[0] + ": " + head.rpartition("-")[2][14:] for head in heads]
    for row in ("row 1 of 2, none", "row 2 of 2, retom"):
        stages = [head for head in heads if head.startswith(row.replace(", ", ", single/"))]
        words = [head.partition(", ")[2].partition(", ")[2] for head in stages]
        assert words[:3] == ["generating", "timing", "scoring"], output
        assert any(word.startswith("scoring features, random convolutions") for word in words)
        assert any(word.startswith("scoring CLIP score") for word in words)


def test_an_experiment_counts_what_it_sweeps(command, heads: list[str]) -> None:
    choices = ["experiment=table2", *SMALLEST, "sampler.steps=1", "timing=off", "metrics=none", "reference=synthetic"]
    assert command(scripts.run, "--multirun", *choices) == 0
    assert [head.partition(",")[0] for head in heads] == ["row 1 of 3", "row 2 of 3", "row 3 of 3"]


def test_a_single_row_is_no_row_of_many(command, heads: list[str]) -> None:
    assert command(scripts.run, *SMALLEST, "timing=off", "metrics=none", "reference=synthetic", "method=none") == 0
    assert heads[0].startswith("single/none-")
    assert heads[0].endswith(", generating")
