"""Rows whose images depend on the batch: what is compared with them, and how their gaps are filled."""

import pytest

from eval.run.row import Row
from scripts.jobs.run_row import run_row

pytestmark = pytest.mark.slow  # half precision is slow on a CPU


def saved_images(row: Row) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(row.folder.images.iterdir())}


def test_in_bfloat16_a_row_is_compared_with_one_of_the_same_batch_size_alone(smallest_row, session) -> None:
    half = ("sampler.dtype=bfloat16", "sampler.batch_size=2")
    run_row(smallest_row("method=none", *half, "sampler.batch_size=1"), session)
    rows = smallest_row("method=none", *half), smallest_row("method=retom", *half)
    run_row(rows[1], session)
    assert rows[1].folder.read_record()["against"] == {}
    for row in rows:
        run_row(row, session)
    assert list(rows[1].folder.read_record()["against"]) == ["none"]


def test_a_gap_in_a_batch_that_images_depend_on_is_filled_by_the_same_batch(smallest_row, session) -> None:
    options = ("method=retom", "sampler.dtype=bfloat16", "prompts.images_per_class=2")
    row, alone = (smallest_row(*options, f"sampler.batch_size={size}") for size in (4, 1))
    for one in (row, alone):
        run_row(one, session)
    whole = saved_images(row)
    assert whole != saved_images(alone)  # so that the comparisons below could fail
    for record_too in (False, True):
        for name in list(whole)[1:3]:
            (row.folder.images / name).unlink()
        if record_too:
            (row.folder.path / "record.json").unlink()
        assert run_row(row, session) == "done"
        assert saved_images(row) == whole
