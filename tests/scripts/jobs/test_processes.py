"""Several processes of one machine share a run: the same images, one record, and they fail together."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from scripts.jobs.run_row import run_row
from tests.scripts.conftest import SMALLEST


def launch(results: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Two processes on the CPU, as `accelerate launch` starts them on two GPUs."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    command += ["-m", "scripts.run", "--multirun", *SMALLEST, "timing=off", f"results={results}", *arguments]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=environment)


@pytest.mark.slow
def test_two_processes_make_the_images_of_one_and_fail_together(smallest_row, session, tmp_path: Path) -> None:
    batch = "sampler.batch_size=1"
    done = launch(tmp_path / "two", "method=retom_random", "method.window=1,4", batch)
    assert done.returncode != 0
    output = "error: method retom_random merged nothing at any of its 16 sites"
    assert done.stderr.count(output) == 1, done.stderr  # by one of the processes
    assert "done              single/retom_random" in done.stderr
    row = smallest_row("method=retom_random", "method.window=4", batch)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the two have: with more, sums round otherwise
    try:
        run_row(row, session)
    finally:
        torch.set_num_threads(threads)
    name = f"runs/single/retom_random-{row.hash}/images"
    alone = {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()}
    assert len(alone) == 2
    assert {path.name: path.read_bytes() for path in (tmp_path / "two" / name).iterdir()} == alone
