"""No image depends on its batch, whatever the method: neighbours change an image by float noise at most."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.records import RunFolder
from scripts.command_line.entry import CONF
from scripts.jobs.job import run_job
from tests.scripts.conftest import trusting

METHODS = sorted((CONF / "method").glob("*.yaml"))


def pictures(row) -> dict[str, np.ndarray]:
    folder = RunFolder(row.results / "runs", row.runs, row.name, row.hash).images
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(Path(folder).iterdir())}


@pytest.mark.parametrize("method", METHODS, ids=lambda path: path.stem)
def test_a_batch_of_three_and_of_one_give_the_same_images(smallest_row, session, method: Path, tmp_path) -> None:
    images, given = [], ["method.share=0.5"] if method.stem == "fewer_steps" else []  # otherwise measured first
    for size in (1, 3):
        row = smallest_row(
            f"method={method.stem}",
            trusting(method),
            *given,
            "prompts.classes=3",
            f"sampler.batch_size={size}",
            f"results={tmp_path / str(size)}",
        )
        run_job(row, session)
        images.append(pictures(row))
    alone, together = images
    assert len(alone) == 3
    assert alone.keys() == together.keys()
    for name, picture in alone.items():
        assert np.abs(picture - together[name]).max() <= 1, name
    first, second, _ = alone.values()
    assert np.abs(first - second).max() > 1  # so that the comparison could fail


def test_the_packages_shared_draw_is_kept_from_images_by_single_calls(smallest_row, session) -> None:
    row = smallest_row("method=tomesd", "sampler.batch_size=2")
    run_job(row, session)
    record = RunFolder(row.results / "runs", row.runs, row.name, row.hash).read_record()
    assert record["provenance"]["run"]["batch_size"] == 1
