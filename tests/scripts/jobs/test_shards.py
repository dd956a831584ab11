"""A run split into shards: the same images and record as in one piece, whichever job generates them."""

import json

import pytest

from eval.errors import RunError
from eval.run.row import Row
from scripts.jobs.run_row import run_row
from tests.scripts.conftest import SmallMemory

CUT = ("method=none", "prompts.classes=3", "sampler.batch_size=2", "shard.count=2")


def saved_images(row: Row) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(row.folder.images.iterdir())}


def what_must_be_equal(row: Row) -> dict:
    record = json.loads((row.folder.path / "record.json").read_text())
    return {key: record[key] for key in ("status", "config", "protocol", "merges", "metrics", "images")}


def test_a_run_in_parts_is_the_run_in_one_piece(smallest_row, session) -> None:
    whole = smallest_row(*CUT[:3])
    run_row(whole, session)
    images, record = saved_images(whole), what_must_be_equal(whole)
    for path in (*whole.folder.images.iterdir(), whole.folder.path / "record.json"):
        path.unlink()
    parts = [smallest_row(*CUT, f"shard.index={index}") for index in (1, 0)]
    assert {part.hash for part in parts} == {whole.hash}
    assert [run_row(part, session) for part in parts] == ["done", "done"]
    assert whole.folder.read_record() is None
    assert run_row(smallest_row(*CUT, "shard.index=close"), session) == "done"
    assert (saved_images(whole), what_must_be_equal(whole)) == (images, record)
    shards = whole.folder.read_record()["provenance"]["run"]["shards"]
    assert [(shard["shard"], shard["images"], shard["batch_size_drawn"]) for shard in shards] == [
        ("1-of-2", 1, 2),
        ("0-of-2", 2, 2),
    ]
    assert all(shard["device_name"] and shard["date"] and "sha" in shard["git"] for shard in shards)
    assert run_row(parts[0], session) == "already finished"
    assert run_row(whole, session) == "already finished"


def test_a_smaller_batch_of_a_shard_is_recorded(smallest_row, session, caplog) -> None:
    part, other, close = (smallest_row(*CUT, f"shard.index={index}") for index in ("0", "1", "close"))
    with SmallMemory(session.pipeline(part.model, part.sampler).unet, images=1):
        run_row(part, session)
    for row in (part, other, close):  # the first has nothing left to draw, and is not kept twice
        run_row(row, session)
    run = close.folder.read_record()["provenance"]["run"]
    assert (run["batch_size"], run["batch_size_drawn"]) == (2, 1)
    assert [shard["batch_size_drawn"] for shard in run["shards"]] == [1, 2]


@pytest.mark.parametrize(("dtype", "depends"), [("float32", False), ("bfloat16", True)])
def test_parts_of_another_batch_size_are_of_another_run_where_images_depend_on_it(
    smallest_row, session, dtype: str, depends: bool
) -> None:
    cut = (*CUT, f"sampler.dtype={dtype}")
    part, other = (smallest_row(*cut, f"shard.index={index}") for index in (0, 1))
    close = smallest_row(*cut, "sampler.batch_size=1", "shard.index=close")
    for row in (part, other):
        run_row(row, session)
    assert (part.folder.path != close.folder.path) == depends
    if depends:
        with pytest.raises(RunError, match="cannot be closed, 3 of its 3 images are missing"):
            run_row(close, session)
    else:
        assert run_row(close, session) == "done"


def test_damaged_facts_of_the_shards_are_set_aside(smallest_row, session, caplog) -> None:
    part, other, close = (smallest_row(*CUT, f"shard.index={index}") for index in ("0", "1", "close"))
    run_row(part, session)
    (part.folder.path / "shards.json").write_text('[{"shard": "0-of-2"}]')
    run_row(other, session)
    assert "shards.json is corrupt (an entry has no batch_size_drawn)" in caplog.text
    run_row(close, session)
    shards = close.folder.read_record()["provenance"]["run"]["shards"]
    assert [shard["shard"] for shard in shards] == ["1-of-2"]


def test_a_missing_shard_is_reported_by_the_closing_job_and_repaired_by_that_shard(smallest_row, session) -> None:
    part, other, close = (smallest_row(*CUT, f"shard.index={index}") for index in ("0", "1", "close"))
    run_row(part, session)
    with pytest.raises(
        RunError, match=r"shard 1 misses 1 \(first: .*\.png\); run it again with .* shard.index=1, then"
    ):
        run_row(close, session)
    assert part.folder.read_record()["status"] == "failed"
    assert len(saved_images(part)) == 2  # the closing job has drawn nothing
    run_row(other, session)
    assert run_row(close, session) == "done"
    assert part.folder.read_record()["status"] == "ok"


def test_what_a_shard_failed_of_stands_in_the_record_and_is_not_written_over(smallest_row, session) -> None:
    cut = ("method=retom", *CUT[1:], "method.window=1")
    with pytest.raises(RunError, match="merged nothing"):
        run_row(smallest_row(*cut, "prompts.classes=6", "shard.index=0"), session)
    close = smallest_row(*cut, "prompts.classes=6", "shard.index=close")
    with pytest.raises(RunError, match="cannot be closed"):
        run_row(close, session)
    assert "merged nothing" in close.folder.read_record()["error"]["sentence"]


def test_shards_keep_each_other_and_the_complete_run_out(smallest_row, session) -> None:
    part, close = smallest_row(*CUT, "shard.index=0"), smallest_row(*CUT, "shard.index=close")
    with part.folder.lock_shard("0-of-2"):
        with pytest.raises(RunError, match=r"Shard 0-of-2 of run folder .* is being written by process"):
            run_row(part, session)
        assert run_row(smallest_row(*CUT, "shard.index=1"), session) == "done"
        with pytest.raises(RunError, match="is being written by"):
            run_row(close, session)


def test_a_shard_mends_its_images_of_a_finished_run(smallest_row, session) -> None:
    part, other, close = (smallest_row(*CUT, f"shard.index={index}") for index in ("0", "1", "close"))
    for row in (part, other, close):
        run_row(row, session)
    before = saved_images(part)
    next(part.folder.images.iterdir()).unlink()
    run_row(part, session)
    run_row(other, session)
    assert saved_images(part) == before
    assert run_row(close, session) == "already finished"
