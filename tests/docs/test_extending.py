"""docs/extending.md: its claims and its tracker are taken from the page as it stands, and work."""

import json
from pathlib import Path

import pytest
from PIL import Image

from eval.trackers import Tracked, send
from scripts.finished.claimed import claims_of
from scripts.jobs.row import build, resolve
from tests.scripts.conftest import SMALLEST, composed


def test_the_claims_are_read_and_judge_by_their_own_rule(found: str) -> None:
    config, _ = composed("experiment=mine", found, *SMALLEST, name="claims")
    *paper, better, no_slower, keeps = claims_of(resolve(config))
    assert len(paper) == 12
    assert (better.method, better.against, better.metric, better.better) == ("pairs", "none", "clip", "higher")
    assert no_slower.verdict(-0.1, 0.0) == "supported"
    verdicts = [keeps.verdict(*ends) for ends in ((-0.5, 1.0), (-0.5, 1.5), (1.1, 2.0), (-2.0, -1.1))]
    assert verdicts == ["supported", "undecided", "contradicted", "contradicted"]


def test_the_tracker_is_built_and_receives_a_run(found: str, tmp_path: Path) -> None:
    config, _ = composed("tracker=numbers", found, *SMALLEST, f"results={tmp_path}")
    tracker = build("tracker", resolve(config)["tracker"])
    run = Tracked("mine/pairs-0", {}, {"method": "pairs"}, {"clip": 20.5}, (), Image.new("RGB", (1, 1)))
    for _ in range(2):
        assert send(tracker, lambda: run)
    saved = json.loads((tmp_path / "numbers" / "mine" / "pairs-0.json").read_text())
    assert saved == {"options": {"method": "pairs"}, "numbers": {"clip": 20.5}}


def test_a_claim_about_a_method_that_is_not_installed_is_one_line(found: str, monkeypatch) -> None:
    config, _ = composed("experiment=mine", found, *SMALLEST, name="claims")
    monkeypatch.setattr("scripts.finished.claimed.choices", lambda conf, group: ["none", "retom"])
    with pytest.raises(ValueError, match=r"^claims\.[^\n]+ must be one of none, retom, got 'tomesd'$"):
        claims_of(resolve(config))
