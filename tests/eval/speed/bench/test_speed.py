"""The table of seconds: the paper's rows and words, our seconds, no quality column."""

import csv
import json
from pathlib import Path

import pytest

from eval.provenance import collect
from eval.speed.bench.speed import COLUMNS, merged_tables, speed_rows, write_speed
from eval.speed.bench.stage_file import stage_facts

FIRST = [
    {"method": "none", "model": "SD", "window_size": "", "dest_token": "", "paper": {"fid": 37.0, "s_per_im": 2.0}},
    {"method": "retom", "model": "ReToM (Ours)", "window_size": "Adaptive", "dest_token": "Rep.",
     "paper": {"fid": 34.0, "s_per_im": 1.6}},
]  # fmt: skip
SECOND = [
    {"method": "retom", "model": "ReToM", "destination": "Most", "paper": {"ssim": 0.74}},
    {"method": "retom_least", "model": "ReToM", "destination": "Least", "paper": {"ssim": 0.72}},
]
METHODS = {"none": "none", "retom": "retom", "retom_triton": "retom", "retom_least": "retom_least"}


def measured(method: str, *samples: float, **changes) -> dict:
    place = {"title": "images", "level": "pipeline", "model": "sd15", "pixels": 512, "steps": 50, "dtype": "float16",
             "batch": 1, "ratio": 0.5, "attention": "sdpa", "mode": "eager"}  # fmt: skip
    row = {
        "method": method,
        "backend": None if method == "none" else "gather",
        "status": "ok",
        "samples": list(samples),
    }
    return {**place, **row, **changes}


def test_the_tables_are_one_row_for_each_method():
    rows = merged_tables([FIRST, SECOND])
    assert [row["method"] for row in rows] == ["none", "retom", "retom_least"]
    assert rows[1]["model"] == "ReToM (Ours)"
    assert (rows[1]["destination"], rows[1]["paper"]) == ("Most", {"fid": 34.0, "s_per_im": 1.6, "ssim": 0.74})
    assert FIRST[1]["paper"] == {"fid": 34.0, "s_per_im": 1.6}


def test_a_row_has_seconds_and_speed_up_next_to_the_papers():
    rows = [measured("retom", *[2.0] * 5, 4.0), measured("none", *[4.0] * 6)]
    none, retom = speed_rows(merged_tables([FIRST, SECOND]), rows, METHODS)
    assert (none["method"], none["s_per_im"], none["paper_s_per_im"], none["speedup"]) == ("none", 4.0, 2.0, 1.0)
    assert (retom["s_per_im"], retom["speedup"], retom["n"]) == (2.0, 2.0, 6)
    assert (retom["s_per_im_low"], retom["s_per_im_high"]) == (2.0, 4.0)
    assert (retom["speedup_low"], retom["speedup_high"]) == (1.0, 2.0)  # round by round
    assert retom["paper_speedup"] == pytest.approx(2.0 / 1.6)
    assert (retom["model"], retom["architecture"]) == ("ReToM (Ours)", "sd15")


def test_speed_up_is_to_the_baseline_of_the_same_attention():
    rows = [
        measured("none", 4.0, 4.0),
        measured("none", 9.0, attention="naive"),
        measured("retom", 3.0, attention="naive"),
    ]
    made = speed_rows(merged_tables([FIRST]), rows, METHODS)
    assert [(row["attention"], row["method"]) for row in made] == [
        ("sdpa", "none"),
        ("naive", "none"),
        ("naive", "retom"),
    ]
    assert made[2]["speedup"] == 3.0
    assert made[2]["s_per_im_low"] is None  # of one image there is no interval
    alone = speed_rows(merged_tables([FIRST]), rows[2:], METHODS)
    assert "speedup" not in alone[0]


def test_a_row_that_is_not_there_keeps_the_papers_value():
    (row,) = speed_rows(merged_tables([FIRST]), [measured("retom", status="missing", error="no time")], METHODS)
    assert (row["status"], row["n"], row["paper_s_per_im"]) == ("missing", 0, 1.6)
    assert "s_per_im" not in row


def test_rows_of_a_file_are_made_again_as_they_were():
    paper = merged_tables([FIRST, SECOND])
    rows = speed_rows(paper, [measured("none", 4.0), measured("retom_triton", 2.0, backend="triton")], METHODS)
    assert speed_rows(paper, rows, METHODS) == rows


def test_the_files_have_every_column_and_say_what_they_are(tmp_path: Path):
    paper = merged_tables([FIRST, SECOND])
    missing = measured("retom_least", status="missing", error="an image takes about 300 s", s_per_im_estimate=300.0)
    rows = speed_rows(paper, [measured("none", *[4.0] * 6), missing], METHODS)
    paths = write_speed(tmp_path, "card", rows, collect(root=tmp_path), {}, stage_facts({}, None, ["a note"]))
    assert [path.name for path in paths] == ["speed_card.csv", "speed_card.json", "speed_card.md"]
    lines = list(csv.DictReader(paths[0].read_text(encoding="utf-8").splitlines()))
    assert list(lines[0]) == list(COLUMNS)
    assert not {"fid", "clip", "ssim"} & set(lines[0])
    assert (lines[1]["s_per_im"], lines[1]["s_per_im_estimate"], lines[1]["n"]) == ("", "300.0", "0")
    assert json.loads(paths[1].read_text(encoding="utf-8"))["rows"][0]["samples"] == [4.0] * 6
    page = paths[2].read_text(encoding="utf-8")
    for words in (
        "random weights",
        "4.000 [4.000, 4.000]",
        "about 300 (from one call)",
        "- a note",
        "no quality column",
    ):
        assert words in page
