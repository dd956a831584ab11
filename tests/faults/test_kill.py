"""kill -9 and Ctrl-C at any moment: the same command takes up the rest, and nothing differs from an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.workshop import ROOT, RUN, TABLES, Process, copy, hold_until

pytestmark = pytest.mark.faults

MOMENTS = 50
IN_TABLES = 8  # of these, so many while the table is built
_RANDOM = random.Random(20261121)
# One moment in each equal part of the command's duration, so that they are spread over all that it does.
IN_RUN = [(i + _RANDOM.random()) / (MOMENTS - IN_TABLES) for i in range(MOMENTS - IN_TABLES)]
IN_TABLE = [(i + _RANDOM.random()) / IN_TABLES for i in range(IN_TABLES)]
WRITES = ("config.yaml", "manifest.jsonl", "weights.json", ".png", ".npz", "record.json")


def killed(start: Callable[[int], tuple[Process, Path]], seconds: float) -> Path:
    """The folder of a process that was killed `seconds` after its start, or sooner where it would have ended before."""
    for attempt in range(8):
        process, folder = start(attempt)
        time.sleep(seconds * 0.8**attempt)
        process.signal(signal.SIGKILL)
        if process.wait() == -9:
            return folder
    raise AssertionError("the command always ended before it was killed")


def phase(results: Path) -> str:
    """What the killed run was at, from what it left."""
    runs = sorted(results.glob("runs/*/*/"))
    open_runs = [run for run in runs if run.is_dir() and not (run / "record.json").exists()]
    if not runs:
        return "starting"
    if not open_runs:
        return "between rows or ended"
    return "generating" if len(list(open_runs[0].glob("images/*.png"))) < 2 else "timing and scoring"


def told_of(folder: Path) -> str | None:
    """What the next start has to say: nothing where the killed one had not begun a run, or had ended it."""
    begun = [run for run in folder.glob("results/runs/*/*") if (run / "config.yaml").exists()]
    if all((run / "record.json").exists() for run in begun):
        return None
    return "has no record yet"


@pytest.mark.parametrize("moment", IN_RUN, ids="{:.3f}".format)
def test_kill_at_a_random_moment_of_a_run(moment: float, trial, server, whole, tmp_path: Path) -> None:
    def start(attempt: int) -> tuple[Process, Path]:
        folder = tmp_path / str(attempt)
        folder.mkdir()
        return server.start("scripts.run", *RUN, folder=folder), folder

    with trial("kill -9 at a random moment") as one:
        folder = killed(start, moment * whole.seconds["scripts.run"])
        one.detail = phase(folder / "results")
        one.recover(folder, says=told_of(folder))


@pytest.mark.parametrize("moment", IN_TABLE, ids="{:.3f}".format)
def test_kill_at_a_random_moment_of_a_table(moment: float, trial, server, whole, tmp_path: Path) -> None:
    def start(attempt: int) -> tuple[Process, Path]:
        folder = copy(whole.folder, tmp_path / str(attempt))
        return server.start("scripts.tables", *TABLES, folder=folder), folder

    with trial("kill -9 at a random moment") as one:
        folder = killed(start, moment * whole.seconds["scripts.tables"])
        one.detail = "building the table"
        one.recover(folder, says="written: ")


@pytest.mark.parametrize("moment", ["begun", "written", "renamed"])
@pytest.mark.parametrize("name", WRITES)
def test_kill_in_the_write_of_a_file(name: str, moment: str, trial, server, tmp_path: Path) -> None:
    with trial("kill -9 within a write", f"{name} {moment}") as one:
        done = server.run("scripts.run", *RUN, folder=tmp_path, sabotage={"die_at": {"name": name, "moment": moment}})
        assert done.status == -9, done.printed
        one.recover(tmp_path, says=told_of(tmp_path))


@pytest.mark.parametrize("moment", ["begun", "written", "renamed"])
@pytest.mark.parametrize("name", ["small.csv", "small.md"])
def test_kill_in_the_write_of_a_table(name: str, moment: str, trial, server, whole, tmp_path: Path) -> None:
    with trial("kill -9 within a write", f"{name} {moment}") as one:
        folder = copy(whole.folder, tmp_path / "copy")
        for path in folder.glob("results/smoke/small*"):
            path.unlink()
        sabotage = {"die_at": {"name": name, "moment": moment}}
        assert server.run("scripts.tables", *TABLES, folder=folder, sabotage=sabotage).status == -9
        one.recover(folder, says="written: ")


@pytest.mark.parametrize("moment", [0.15, 0.4, 0.65, 0.9])
def test_ctrl_c(moment: float, trial, server, whole, tmp_path: Path) -> None:
    with trial("Ctrl-C") as one:
        process = server.start("scripts.run", *RUN, folder=tmp_path)
        time.sleep(moment * whole.seconds["scripts.run"])
        process.signal(signal.SIGINT)
        status = process.wait()
        one.detail = phase(tmp_path / "results") if status == 130 else "ended before"
        if status != 0:
            assert status == 130, process.printed
            assert "interrupted: finished work is saved; run the same command again to resume" in process.printed
            assert "Traceback" not in process.printed
        one.recover(tmp_path, says=told_of(tmp_path))


@pytest.mark.parametrize(
    "sabotage", [{"ctrl_c_amid_modes": {}}, *({"ctrl_c_amid_flags": {"call": call}} for call in (0, 100, 400, 600))]
)
def test_ctrl_c_for_which_a_library_raises_an_error_of_its_own(sabotage: dict, trial, server, tmp_path: Path) -> None:
    with trial("Ctrl-C", " ".join(sabotage)) as one:
        done = server.run("scripts.run", *RUN, folder=tmp_path, sabotage=sabotage)
        assert done.status == 130, done.printed
        assert "interrupted: finished work is saved; run the same command again to resume" in done.printed
        assert "Traceback" not in done.printed
        assert not list(tmp_path.glob("results/runs/*/*/record.json"))
        one.recover(tmp_path, says=told_of(tmp_path))


def test_ctrl_c_that_a_library_drops(trial, server, tmp_path: Path) -> None:
    with trial("Ctrl-C", "dropped") as one:
        done = server.run("scripts.run", *RUN, folder=tmp_path, sabotage={"ctrl_c_is_dropped": {"call": 1}})
        assert done.status == 130, done.printed
        assert [path.parent.name.split("-")[0] for path in tmp_path.glob("results/runs/*/*/record.json")] == ["none"]
        one.recover(tmp_path)


def test_ctrl_c_in_an_interpreter_of_its_own(trial, tmp_path: Path) -> None:
    with trial("Ctrl-C", "a fresh interpreter") as one:
        output = (tmp_path / "printed").open("w+")
        command = [sys.executable, "-m", "scripts.run", *RUN]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        # A background job of a shell ignores SIGINT, and would hand that down.
        heard = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=tmp_path, env=environment, **heard)
        hold_until(lambda: any((tmp_path / "results").glob("runs/*/*/images/*.png")), process)
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 130
        output.seek(0)
        assert "interrupted: finished work is saved; run the same command again to resume" in output.read()
        output.close()
        (tmp_path / "printed").unlink()
        one.recover(tmp_path)
