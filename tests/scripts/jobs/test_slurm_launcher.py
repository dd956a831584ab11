"""What the Slurm launcher refuses before anything is submitted, in one sentence; test_slurm.py has the rest."""

import pickle
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

import scripts.run
from scripts.jobs.session import Session
from tests.scripts.conftest import SMALLEST

LAUNCHER = ("hydra/launcher=slurm", *SMALLEST, "timing=off")


@pytest.fixture
def output(monkeypatch, tmp_path: Path, capsys):
    """A function that gives the command with arguments, in a place without Slurm: its exit status and its errors."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def call(*arguments: str) -> tuple[int, list[str]]:
        monkeypatch.setattr(sys, "argv", ["run", *arguments, *LAUNCHER, f"results={tmp_path}"])
        GlobalHydra.instance().clear()
        try:
            status = scripts.run.main()
        finally:
            GlobalHydra.instance().clear()
        return status, [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]

    return call


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["method=none"], "submits the jobs of a sweep; add --multirun, also for a single job"),
        (["--multirun", "method=none,retom"], "Slurm accepts no jobs ("),
        (
            ["--multirun", "method=none", "shard.count=2", "shard.index=0,1"],
            "splits the runs itself: set hydra.launcher.shards",
        ),
        (["--multirun", "method=none", "hydra.launcher.shards=0"], "hydra.launcher.shards must be an integer"),
        (["--multirun", "method=none", "hydra.launcher.shard=2"], "unknown key 'hydra.launcher.shard', the nearest is"),
    ],
)
def test_a_mistake_is_one_line(output, arguments, sentence) -> None:
    status, errors = output(*arguments)
    assert status == 1
    assert len(errors) == 1
    assert sentence in errors[0]


def test_a_session_crosses_to_another_process_empty(session, smallest_row) -> None:
    """A job that is queued again is pickled while a patched pipeline of gigabytes is loaded."""
    row = smallest_row("method=none")
    session.pipeline(row.model, row.sampler)
    crossed = pickle.dumps(session)
    assert len(crossed) < 1000
    assert vars(pickle.loads(crossed)) == vars(Session())
