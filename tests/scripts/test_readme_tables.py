"""The tables of README.md are those of the committed CSV files, and their image is there."""

import csv
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from omegaconf import OmegaConf
from PIL import Image

from eval.errors import RunError
from scripts.command_line.entry import CONF, ROOT
from scripts.readme import filled, gpu, removed_tokens, sections, studied
from scripts.studies.example import IMAGE, write_example
from scripts.tables import method_labels

PAGE = ROOT / "README.md"
LABELS = method_labels()
SPEED = ["model", "window_size", "dest_token", "destination", "method", "status", "s_per_im"]
SPEED += ["speedup", "speedup_low", "speedup_high", "device_name", "dtype"]
# A scheduler of diffusers under NumPy 2.
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")


def test_the_page_holds_the_tables_of_the_committed_results(session) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        removed = removed_tokens(ROOT / "results", session)
    page = PAGE.read_text(encoding="utf-8")
    assert filled(page, sections(ROOT / "results", LABELS, removed)) == page, "run: python -m scripts.readme"


def test_every_method_of_the_study_has_a_row_at_one_ratio() -> None:
    found = studied(ROOT / "results")
    params = OmegaConf.load(CONF / "experiment" / "damage.yaml").hydra.sweeper.params
    assert set(found) == {"none", *params.method.split(",")}
    assert {name for name, line in found.items() if "ratio=0.5" in line["model"]} == {"todo", "ca_tome"}
    assert not any("ratio=0.25" in line["model"] or "ratio=0.75" in line["model"] for line in found.values())


def test_other_results_give_another_page_and_missing_ones_an_error(tmp_path: Path) -> None:
    for name in ("damage_tiny.csv", "bench_cpu.csv"):
        text = (ROOT / "results" / name).read_text(encoding="utf-8")
        (tmp_path / name).write_text(text.replace("9.953499360654249", "8.5"), encoding="utf-8")
    page = PAGE.read_text(encoding="utf-8")
    changed = sections(tmp_path, LABELS, {})["leaderboard"]
    assert "`none` | 0% | 1 | 8.50 [7.29, 12.99] |" in changed
    assert changed not in page
    (tmp_path / "bench_cpu.csv").unlink()
    with pytest.raises(RunError, match=r"bench_cpu\.csv is missing"):
        sections(tmp_path, LABELS, {})


def test_a_page_without_its_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="once, in this order, got 0"):
        filled("no markers", {"bench": "text"})
    assert filled("a\n<!-- b: begin -->\nold\n<!-- b: end -->\n", {"b": "\\1"}).splitlines()[2] == "\\1"


def test_a_measured_card_is_shown_and_none_is_said(tmp_path: Path) -> None:
    assert gpu(tmp_path) == "GPU: not measured yet."
    rows = [
        ["Stable Diffusion", "", "", "", "none", "ok", "1.6", "1.0", "1.0", "1.0"],
        ["ATC", "", "", "", "atc", "missing", "", "", "", ""],
        ["ReToM (Ours)", "Adaptive", "Rep. Token", "", "retom-gather", "ok", "1.25", "1.28", "1.2", "1.3"],
    ]
    with (tmp_path / "speed_card.csv").open("w", encoding="utf-8", newline="") as opened:
        writer = csv.writer(opened)
        writer.writerows([SPEED, *([*row, "Card 1", "float16"] for row in rows)])
    text = gpu(tmp_path)
    assert text.startswith("Card 1, random weights, float16:\n")
    assert "| ReToM (Ours), Adaptive, Rep. Token, `retom-gather` | 1.25 | 1.28 [1.20, 1.30] |" in text
    assert "ATC" not in text


def test_the_image_is_small_and_can_be_generated_again(session, tmp_path, monkeypatch) -> None:
    assert IMAGE.stat().st_size < 200_000
    assert f"({IMAGE.relative_to(ROOT).as_posix()})" in PAGE.read_text(encoding="utf-8")
    monkeypatch.setattr("scripts.studies.example.IMAGE", tmp_path / "again.webp")
    example = OmegaConf.to_container(OmegaConf.load(CONF / "readme.yaml"))["example"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        path = write_example(example, LABELS, session)
    with Image.open(path) as again, Image.open(IMAGE) as committed:
        assert again.size == committed.size
