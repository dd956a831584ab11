"""No image depends on its batch, whatever the method: neighbours change an image by float noise at most."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import scripts.independence
from eval.errors import RunError
from eval.records import RunFolder
from scripts.command_line.entry import CONF
from scripts.jobs.run_row import run_row
from scripts.studies.independence import independence
from tests.scripts.conftest import SMALLEST, trusting

METHODS = sorted((CONF / "method").glob("*.yaml"))


def saved_images(row) -> dict[str, np.ndarray]:
    folder = RunFolder(row.results / "runs", row.runs, row.name, row.hash).images
    return {path.name: np.asarray(Image.open(path)).astype(int) for path in sorted(Path(folder).iterdir())}


@pytest.mark.parametrize("method", METHODS, ids=lambda path: path.stem)
def test_a_batch_of_three_and_of_one_give_the_same_images(smallest_row, session, method: Path, tmp_path) -> None:
    images, given = [], ["method.share=0.5"] if method.stem == "fewer_steps" else []  # otherwise measured first
    for size in (1, 3):
        row = smallest_row(
            f"method={method.stem}",
            trusting(method),
            "metrics=none",
            *given,
            "prompts.classes=3",
            f"sampler.batch_size={size}",
            f"results={tmp_path / str(size)}",
        )
        run_row(row, session)
        images.append(saved_images(row))
    alone, together = images
    assert len(alone) == 3
    assert alone.keys() == together.keys()
    for name, image in alone.items():
        assert np.abs(image - together[name]).max() <= 1, name
    first, second, _ = alone.values()
    assert np.abs(first - second).max() > 1  # so that the comparison could fail


@pytest.mark.parametrize(
    ("method", "dtype", "size"),
    [
        ("tomesd", "float32", 1),
        ("retom", "float32", 1),
        ("none", "float32", 2),
        ("tomesd", "bfloat16", 1),  # all images of a call share one draw of the package
        ("retom", "bfloat16", 2),  # the batch is part of what names the run
    ],
)
def test_what_merges_is_generated_one_image_a_call_where_no_batch_is_named(
    smallest_row, session, method: str, dtype: str, size: int
) -> None:
    row = smallest_row(f"method={method}", f"sampler.dtype={dtype}", "sampler.batch_size=2", "metrics=none")
    run_row(row, session)
    record = RunFolder(row.results / "runs", row.runs, row.name, row.hash).read_record()
    assert record["provenance"]["run"]["batch_size"] == size


def test_what_moves_is_measured_without_the_limit_that_keeps_it_from_moving(smallest_row, session) -> None:
    options = ("prompts.classes=3", "sampler.batch_size=3")
    still, moved = (independence(smallest_row(f"method={name}", *options), session) for name in ("none", "tomesd"))
    assert (still.images, still.beyond) == (3, 0)
    assert moved.moved >= 1
    assert moved.largest > 100 * still.largest  # all images of a call share one draw of the package
    with pytest.raises(RunError, match=r"set sampler\.batch_size to 2 or more"):
        independence(smallest_row("method=none", "sampler.batch_size=1"), session)


def test_the_command_prints_one_line_for_each_row(command, capsys) -> None:
    assert command(scripts.independence, "--multirun", *SMALLEST, "timing=off", "method=none,retom") == 0
    head, *lines = capsys.readouterr().out.strip().splitlines()
    assert head.startswith("tiny_random, float32, 2 steps, ")
    assert [line.split(" | ")[0] for line in lines[1:]] == ["| method", "| ---", "| none", "| retom"]
