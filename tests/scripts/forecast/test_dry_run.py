"""The dry run: what a command line would take and lacks, output without drawing or fetching anything."""

import re
import shutil
from pathlib import Path

import pytest

import scripts.run
from scripts.forecast.dry_run import _without_launching
from scripts.forecast.forecast import forecast
from scripts.jobs.run_row import run_row
from tests.scripts.conftest import SMALLEST, SmallMemory

FOUR = ("prompts.classes=2", "prompts.images_per_class=2", "sampler.batch_size=4")


def test_rows_images_disk_and_hours_are_reported_and_nothing_is_written(command, tmp_path: Path, capsys) -> None:
    choices = ["--multirun", "experiment=table2", *SMALLEST, "timing=smoke", "method=none,retom"]
    assert command(scripts.run, *choices, "--dry-run") == 0
    output = capsys.readouterr().out
    assert re.search(r"2 rows, 4 images to make, at most 0\.00 GiB of disk, \d+\.\d\d hours, without scoring", output)
    runs = [line.split("  ")[-1].rpartition("-")[0] for line in output.splitlines()[1:3]]
    assert runs == ["table1/none", "table1/retom"]
    assert list(tmp_path.iterdir()) == []


def test_what_is_made_already_is_not_made_again(smallest_row, session, tmp_path: Path) -> None:
    row = smallest_row("method=none")
    run_row(row, session)
    done = forecast(row, session, tmp_path / "cache")
    assert (done.finished, done.images, done.there, done.hours) == (True, 2, 2, 0.0)
    run = tmp_path / "runs" / "single" / f"none-{row.hash}"
    (run / "record.json").write_text("{")
    next((run / "images").iterdir()).unlink()
    before = sorted(path.relative_to(run) for path in run.rglob("*"))
    begun = forecast(row, session, tmp_path / "cache")
    assert (begun.finished, begun.there, begun.bytes) == (False, 1, 64 * 64 * 3)
    assert begun.measured.s_per_im > 0
    assert begun.hours == pytest.approx(begun.measured.s_per_im / 3600)
    assert sorted(path.relative_to(run) for path in run.rglob("*")) == before  # not even set aside


def test_everything_that_is_missing_is_reported_at_once_and_nothing_is_fetched(
    command, monkeypatch, tmp_path: Path, capsys
) -> None:
    monkeypatch.setenv("RETOM_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("urllib.request.urlopen", lambda *_, **__: pytest.fail("it fetched something"))
    arguments = ["--dry-run", "method=none", "model.path=/nowhere", "sampler=cpu", "prompts.classes=2"]
    assert command(scripts.run, *arguments) == 1
    output = capsys.readouterr().out
    missing = [line.removeprefix("missing: ") for line in output.splitlines() if line.startswith("missing: ")]
    for what in ("inception-2015-12-05.pt do not exist", "reference.path is not given", "model sd15: /nowhere is not"):
        assert len([sentence for sentence in missing if what in sentence]) == 1, output
    assert len([sentence for sentence in missing if sentence.endswith("(size not known: offline)")]) == 4
    assert "GiB of disk, hours of 1 rows that cannot be forecast" in output
    assert "not timed: model sd15: /nowhere is not a diffusers pipeline folder" in output


# The scheduler hands torch tensors to numpy the old way.
@pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")
def test_the_tiny_model_brings_its_own_reference(command, capsys) -> None:
    arguments = [
        "--dry-run",
        "model=tiny",
        "method=none",
        "prompts.images_per_class=1",
        "timing=off",
        "sampler.steps=1",
    ]
    assert command(scripts.run, *arguments) == 0, capsys.readouterr()


def test_a_full_disk_is_missing_space(command, monkeypatch, capsys) -> None:
    usage = shutil.disk_usage("/")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(free=1000))
    assert command(scripts.run, "--dry-run", *SMALLEST, "timing=off", "method=none") == 1
    assert "missing: 0.00 GiB of disk, and" in capsys.readouterr().out


def test_the_batch_size_that_fits_is_found(smallest_row, session, tmp_path: Path) -> None:
    row = smallest_row("method=none", *FOUR)
    with SmallMemory(session.pipeline(row.model, row.sampler).unet, images=2):
        assert forecast(row, session, tmp_path / "cache").measured.batch_size == 2
    with SmallMemory(session.pipeline(row.model, row.sampler).unet, images=0):
        (sentence,) = forecast(row, session, tmp_path / "cache").missing
    assert sentence.startswith("memory runs out with one image per pipeline call")


def test_a_batch_that_images_depend_on_and_that_does_not_fit_is_missing(smallest_row, session, tmp_path: Path) -> None:
    row = smallest_row("method=none", *FOUR, "sampler.dtype=bfloat16")
    with SmallMemory(session.pipeline(row.model, row.sampler).unet, images=2):
        found = forecast(row, session, tmp_path / "cache")
    (sentence,) = found.missing
    assert sentence.endswith("run every row again with sampler.batch_size=2")
    assert found.measured is None


def test_jobs_are_looked_at_here_whatever_the_launcher() -> None:
    given = ["--multirun", "--dry-run", "hydra/launcher=slurm", "hydra.launcher.partition=gpu", "method=none"]
    assert _without_launching(given, "/tmp/x") == ["--multirun", "method=none", "hydra.sweep.dir=/tmp/x/sweep"]


def test_a_finished_row_that_lacks_something_says_so(command, smallest_row, session, tmp_path: Path, capsys) -> None:
    row = smallest_row("method=none")
    run_row(row, session)
    folder = row.results / "runs" / row.runs / f"{row.name}-{row.hash}"
    next((folder / "images").iterdir()).unlink()
    found = forecast(row, session, tmp_path / "cache")
    assert (found.finished, found.images - found.there) == (False, 1)
