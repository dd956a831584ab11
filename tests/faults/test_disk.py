"""A disk that is full or read-only: said in one sentence, and with room again the same command finishes."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.faults.workshop import RUN, TABLES, copy, small_disk

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(os.geteuid() != 0, reason="a disk of its own needs root to be mounted"),
]
ADVICE = ("make room", "free some")


def remount(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", folder], check=True)


def test_too_small_from_the_start(trial, server, tmp_path: Path) -> None:
    with trial("full disk", "from the start") as one, small_disk(tmp_path / "disk", "40k") as disk:
        done = server.run("scripts.run", *RUN, folder=disk)
        assert done.status == 1
        assert any(advice in done.printed for advice in ADVICE), done.printed
        assert "Traceback" not in done.printed
        remount(disk, "size=50m")
        one.recover(disk)


@pytest.mark.parametrize("name", [".JPEG", "config.yaml", "manifest.jsonl", ".png", ".npz", "record.json"])
def test_full_in_the_middle_of_a_run(name: str, trial, server, tmp_path: Path) -> None:
    with trial("full disk", f"at {name}") as one, small_disk(tmp_path / "disk", "4m") as disk:
        ballast = disk / "ballast"
        done = server.run(
            "scripts.run", *RUN, folder=disk, sabotage={"fill_at": {"name": name, "ballast": str(ballast)}}
        )
        assert done.status == 1, done.printed
        assert any(advice in done.printed for advice in ADVICE), done.printed
        assert "Traceback" not in done.printed
        ballast.unlink()
        one.recover(disk)


@pytest.mark.parametrize("name", ["small.csv", "small.md"])
def test_full_while_a_table_is_written(name: str, trial, server, whole, tmp_path: Path) -> None:
    with trial("full disk", f"at {name}") as one, small_disk(tmp_path / "disk", "6m") as disk:
        folder, ballast = copy(whole.folder, disk / "copy"), disk / "ballast"
        sabotage = {"fill_at": {"name": name, "ballast": str(ballast)}}
        done = server.run("scripts.tables", *TABLES, folder=folder, sabotage=sabotage)
        assert done.status == 1, done.printed
        assert any(advice in done.printed for advice in ADVICE), done.printed
        assert "Traceback" not in done.printed
        ballast.unlink()
        one.recover(folder)


@pytest.mark.parametrize("state", ["nothing there", "half done", "finished"])
def test_read_only_results(state: str, trial, server, whole, tmp_path: Path) -> None:
    with trial("read-only results", state) as one, small_disk(tmp_path / "disk", "6m") as disk:
        folder = disk / "copy"
        folder.mkdir()
        if state != "nothing there":
            shutil.rmtree(folder)
            copy(whole.folder, folder)
        if state == "half done":
            for path in folder.glob("results/runs/*/*/record.json"):
                path.unlink()
        remount(disk, "ro")
        for module, arguments in (("scripts.run", RUN), ("scripts.tables", TABLES)):
            done = server.run(module, *arguments, folder=folder)
            assert done.status == 1, done.printed
            assert "Traceback" not in done.printed, done.printed
            assert "Read-only file system" in done.printed or "there is no record in" in done.printed, done.printed
        remount(disk, "rw")
        one.recover(folder)
