"""How much the harness costs next to the work: lines of the project, measured in processor seconds of this process.

Wall clock would measure what else the machine does. The figures are printed (-s) and stand in docs/sweeps.md.
"""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import eval.generation.pipelines
import eval.reference.loading
import scripts.jobs.run_row
import scripts.jobs.session
import scripts.run
import scripts.tables
from eval.generation.images import write_png
from eval.generation.prompts import PromptSet
from eval.records import RunFolder
from tests.eval.sample_records import make_record
from tests.scripts.conftest import SMALLEST

pytestmark = pytest.mark.slow


class Counted:
    """A function's calls and processor seconds."""

    def __init__(self, function: Callable) -> None:
        self.function, self.calls, self.seconds = function, 0, 0.0

    def __call__(self, *arguments: object, **options: object) -> object:
        began = time.process_time()
        try:
            return self.function(*arguments, **options)
        finally:
            self.calls += 1
            self.seconds += time.process_time() - began


def counted(monkeypatch, module: object, name: str) -> Counted:
    watch = Counted(getattr(module, name))
    monkeypatch.setattr(module, name, watch)
    return watch


def test_twenty_jobs_cost_less_than_six_seconds_each_besides_their_work(command, monkeypatch) -> None:
    loads = counted(monkeypatch, eval.generation.pipelines, "load_pipeline")
    reads = counted(monkeypatch, eval.reference.loading, "load_reference")
    draws, scores = (
        counted(monkeypatch, scripts.jobs.run_row, "generate"),
        counted(monkeypatch, scripts.jobs.run_row, "score"),
    )
    ratios = ",".join(f"{0.1 + 0.04 * step:.2f}" for step in range(20))
    began = time.process_time()
    choices = ["--multirun", *SMALLEST, "sampler.steps=1", "timing=off", "method=retom", f"method.ratio={ratios}"]
    assert command(scripts.run, *choices) == 0
    whole = time.process_time() - began
    beside = (whole - draws.seconds - scores.seconds) / 20
    print(f"\n20 jobs: {whole:.1f} s, {beside:.2f} s a job beside drawing and scoring")
    assert draws.calls == scores.calls == 20
    assert loads.calls == reads.calls == 1
    assert beside < 6


def test_a_thousand_records_become_a_table_in_less_than_five_seconds(command, tmp_path: Path) -> None:
    for number in range(1000):
        record = make_record("retom", ratio=0.5, seed=number, experiment="ablate_ratio")
        RunFolder(tmp_path / "runs", "ablate_ratio", "retom", record["pixel_hash"]).write_record(record)
    began = time.process_time()
    command(scripts.tables, "experiment=ablate_ratio", "select={model:tiny}", "model=tiny_random")
    seconds = time.process_time() - began
    print(f"\n1,000 records to a table and the tidy CSV: {seconds:.2f} s")
    assert (tmp_path / "ablate_ratio.csv").read_text().count("\n") > 1000
    assert (tmp_path / "runs_ablate_ratio.csv").read_text().count("\n") > 3000
    assert seconds < 5


@pytest.mark.parametrize("record", ["with its record", "without"])
def test_a_complete_run_of_2000_images_is_resumed_in_less_than_ten_seconds(record, smallest_row, session) -> None:
    prompts = ("prompts.classes=1000", "prompts.images_per_class=2")
    row = smallest_row("method=none", *prompts, "metrics=none", "sampler.steps=1")
    folder = row.folder
    noise = np.random.default_rng(0)
    for item in PromptSet(classes=1000, images_per_class=2).items():
        write_png(folder.images / item.file, noise.integers(0, 256, (64, 64, 3), dtype=np.uint8))
    if record != "without":
        assert scripts.jobs.run_row.run_row(row, session) == "done"
    began = time.process_time()
    assert scripts.jobs.run_row.run_row(row, session) == ("done" if record == "without" else "already finished")
    seconds = time.process_time() - began
    print(f"\n2,000 images {record}: {seconds:.2f} s")
    assert seconds < 10
