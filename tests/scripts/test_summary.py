"""What `make smoke` prints last: tables, claims, why it is not faster, what to run next, and the report's path."""

import json
import re
from pathlib import Path

import scripts.claims
import scripts.report
import scripts.run
import scripts.summary
from tests.scripts.conftest import SMALLEST

CHOICES = ("experiment=smoke", *SMALLEST, "sampler.steps=1", "prompts.classes=5", "prompts.images_per_class=2")


def test_the_summary_ends_with_the_report(command, tmp_path: Path, capsys, monkeypatch) -> None:
    assert command(scripts.run, "--multirun", *CHOICES, "method=none,retom") == 0
    capsys.readouterr()
    assert command(scripts.summary, *CHOICES) == 0
    printed = capsys.readouterr().out
    folder = tmp_path / "smoke"
    assert "The paper's claims: not checked yet, run make claims" in printed
    assert printed.splitlines()[-1] == f"There is no {folder / 'report.html'}; make report writes it"

    assert command(scripts.claims, *CHOICES) == 0
    command(scripts.report, *CHOICES)
    capsys.readouterr()
    assert command(scripts.summary, *CHOICES) == 0
    printed = capsys.readouterr().out
    places = [printed.index(text) for text in ("Table I:", "Table II:", "The paper's claims", "Next", "Report:")]
    assert places == sorted(places)
    lines = printed.splitlines()
    assert lines[-1] == f"Report: {folder / 'report.html'}"
    assert max(map(len, lines[:-1])) <= 100
    assert "? undecided     ReToM has a better FID than ToMeSD" in printed
    assert "Why no speed-up" not in printed  # this model's largest site has 1,024 tokens

    monkeypatch.setattr(scripts.summary, "FEW_TOKENS", 2000)
    assert command(scripts.summary, *CHOICES) == 0
    printed, ratio = capsys.readouterr().out, speed_up(tmp_path)
    reason = rf"Why no speed-up \({ratio:.2f}x†?\)\? Attention runs on at most 1024 tokens in this model"
    assert bool(re.search(reason, printed)) == (ratio <= scripts.summary.FASTER)


def speed_up(results: Path) -> float:
    """That of ReToM, from the records."""
    seconds = {
        path.parent.name.split("-")[0]: json.loads(path.read_text())["timing"]["s_per_im"]
        for path in (results / "runs" / "smoke").glob("*/record.json")
    }
    return seconds["none"] / seconds["retom"]


def test_claims_that_cannot_be_read_are_reported(command, tmp_path: Path, capsys) -> None:
    assert command(scripts.run, *CHOICES, "method=none", "timing=off") == 0
    path = tmp_path / "smoke" / "claims.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text("{")
    assert command(scripts.summary, *CHOICES) == 0
    assert f"{path} cannot be read" in capsys.readouterr().err
