"""The page: fronts, environments apart, and strangers' words that break no table."""

import copy
import dataclasses
from pathlib import Path

from eval.submissions.badges import holds, within
from eval.submissions.board import render
from eval.submissions.checks import Accepted
from eval.submissions.environment import environment, slug
from eval.submissions.layout import folders, read_submission
from eval.submissions.protocols import published_for, read_published

TREE = Path(__file__).parents[3] / "submissions"


def accepted(*methods: str) -> list[Accepted]:
    published = read_published(TREE)
    submissions = [read_submission(folder) for folder in folders(TREE) if folder.parts[-3] in methods]
    return [Accepted(submission, published_for(submission.record, published)) for submission in submissions]


def page(rows: list[Accepted]) -> str:
    return render(rows, [], read_published(TREE), lambda record: record["method"])


def test_each_environment_has_a_table_and_a_front_of_its_own() -> None:
    rows = accepted("retom", "tofu")
    moved = copy.deepcopy(rows[0].submission.record)
    moved["provenance"]["packages"]["torch"]["version"] = "2.16.0"
    moved["metrics"]["ssim"]["value"] = 0.999  # would beat every row of the other environment
    other = dataclasses.replace(rows[0], submission=dataclasses.replace(rows[0].submission, record=moved))
    text = page([*rows, other])
    assert text.count("### ") == 2
    assert f"### {environment(moved)}" in text
    first, second = (part for part in text.split("### ")[1:])
    assert "●" in first
    assert "●" in second


def test_a_strangers_words_break_no_table() -> None:
    (row,) = accepted("retom")
    method = {**row.submission.method, "submitted_by": "a | b"}
    text = page([dataclasses.replace(row, submission=dataclasses.replace(row.submission, method=method))])
    assert "| a / b |" in text


def test_an_environment_is_named_by_the_record_alone() -> None:
    (row,) = accepted("retom")
    record = copy.deepcopy(row.submission.record)
    assert environment(record) == row.submission.folder.parts[-2]
    record["protocol"] |= {"device_name": "NVIDIA H100 80GB HBM3", "dtype": "float16"}
    record["provenance"]["device"]["type"] = "cuda"
    record["provenance"]["packages"]["torch"]["version"] = "2.15.0+cu132"
    record["config"]["sampler"] |= {"dtype": "float16", "compile": True, "batch_size": 4}
    assert environment(record) == "nvidia-h100-80gb-hbm3_torch2.15.0_cuda13.2_float16_sdpa_compiled_batch4"
    assert slug("../..") == "unknown"


def test_within_needs_an_interval_and_every_value_in_it() -> None:
    metrics = {"fid": {"interval": [1, 3]}, "ssim": {"interval": None}}
    assert within({"fid": {"value": 2}}, metrics)
    assert not within({"fid": {"value": 4}}, metrics)
    assert not within({"fid": {"value": None}}, metrics)
    assert not within({}, metrics)
    assert not within({"ssim": {"value": 1}}, {"ssim": {"interval": None}})


def test_verified_means_most_images_within_rounding() -> None:
    assert holds({"images": 10, "close": 8})
    assert not holds({"images": 10, "close": 7})
