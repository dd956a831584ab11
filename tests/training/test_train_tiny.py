"""The entry point: its configuration is what is trained, and its mistakes are named."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from eval.assets import ASSETS
from scripts.command_line.entry import CONF
from scripts.train_tiny import read, work
from training.choices import STAGES


def composed(*overrides: str) -> dict:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("train_tiny", overrides=list(overrides))


def test_the_shipped_card_tells_the_shipped_values():
    config = read(composed())
    card = (ASSETS / "tiny" / "README.md").read_text(encoding="utf-8")
    for stage in STAGES:
        loop = getattr(config, stage)
        assert f"| {stage} | {loop.steps} | {loop.batch} | {loop.lr:g} |" in card
    sampler = composed()["sampler"]
    assert f"{sampler.scheduler}, {sampler.steps} steps, guidance {sampler.guidance:g}" in card


def test_the_stages_asked_for_are_trained(data: Path, tmp_path: Path):
    work(composed("stages=[clip]", f"data={data}", f"out={tmp_path}", "dtype=float32", "clip.steps=1", "clip.batch=2"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.pt", "clip_curve.csv", "clip_curve.png"]


def test_an_unknown_stage_is_named(data: Path, tmp_path: Path):
    with pytest.raises(ValueError, match=r"stages must be a list of classifier, .*, export, got \['decoder'\]"):
        work(composed("stages=[decoder]", f"data={data}", f"out={tmp_path}"))
