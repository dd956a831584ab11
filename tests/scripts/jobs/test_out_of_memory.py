"""A row whose batch does not fit: smaller batches, the same images, and the record says so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.errors import RunError
from scripts.jobs.run_row import run_row
from tests.scripts.conftest import SmallMemory

FOUR = ("prompts.classes=2", "prompts.images_per_class=2", "sampler.batch_size=4")


def saved_images(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(folder.glob("*.png"))}


def test_smaller_batches_make_the_same_images_and_are_recorded(smallest_row, session, caplog) -> None:
    row = smallest_row("method=none", *FOUR)
    run_row(row, session)
    undisturbed, record = saved_images(row.folder.images), row.folder.read_record()
    assert record["provenance"]["run"]["batch_size_drawn"] == record["provenance"]["run"]["batch_size"]
    for path in row.folder.images.iterdir():
        path.unlink()
    (row.folder.path / "record.json").unlink()
    with SmallMemory(session.pipeline(row.model, row.sampler).unet, images=1):
        assert run_row(row, session) == "done"
    again, after = saved_images(row.folder.images), row.folder.read_record()
    assert again.keys() == undisturbed.keys()
    assert max(abs(again[name] - undisturbed[name]).max() for name in again) <= 1  # float noise of another batch
    assert after["provenance"]["run"]["batch_size_drawn"] == 1
    assert after["merges"] == record["merges"]
    assert "memory runs out with 4 images per pipeline call; continuing with 2" in caplog.text


def test_a_batch_that_images_depend_on_is_refused_and_not_made_smaller(smallest_row, session) -> None:
    row = smallest_row("method=retom", *FOUR, "sampler.dtype=bfloat16")
    with (
        SmallMemory(session.pipeline(row.model, row.sampler).unet, images=2),
        pytest.raises(RunError, match=r"4 images per .* bfloat16 images depend .* again with sampler.batch_size=2"),
    ):
        run_row(row, session)
    assert row.folder.read_record()["status"] == "failed"
    assert saved_images(row.folder.images) == {}


def test_a_method_of_one_image_a_call_keeps_to_its_batch_in_every_dtype(smallest_row, session) -> None:
    row = smallest_row("method=tomesd", *FOUR, "sampler.dtype=bfloat16")
    with SmallMemory(session.pipeline(row.model, row.sampler).unet, images=1):
        assert run_row(row, session) == "done"
    assert row.folder.read_record()["provenance"]["run"]["batch_size_drawn"] == 1
