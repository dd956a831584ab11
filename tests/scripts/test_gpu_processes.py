"""`python -m scripts.gpu` with its processes, also those that end badly or not at all, and the whole command."""

import csv
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.speed.bench.stage_file import read_stage
from scripts.command_line.entry import ROOT
from scripts.gpu_stages import launch as launching
from scripts.gpu_stages import seconds, training
from scripts.gpu_stages.launch import Ended, launch, run_stage
from scripts.gpu_stages.order import STAGES, Order
from tests.scripts.gpu_orders import SITE, composed, order, statuses
from tests.training.conftest import write_split

pytestmark = pytest.mark.slow


def bad(folder: Path, kind: str, **changes) -> Order:
    """Two cells, of which the first has a method of tests/scripts/gpu_methods.py."""
    methods = {"bad": {"method": "none", "_target_": f"tests.scripts.gpu_methods.{kind}"}}
    cells = {"a": {**SITE, "methods": ["none", "bad"]}, "b": {**SITE, "methods": ["none"], "batch": [1]}}
    return order(folder, sizes={"least": 1, "cells": cells}, methods=methods, trusted=["tests"], **changes)


def test_a_process_that_a_cell_kills_is_started_again_for_the_others(tmp_path: Path) -> None:
    asked = bad(tmp_path, "Killer")
    assert run_stage(asked, 300).error is None
    rows = read_stage(asked.path).rows
    assert [(row["method"], row["status"]) for row in rows] == [("none", "failed"), ("bad", "failed"), ("none", "ok")]
    assert {row["error"] for row in rows[:2]} == {"its process ended by SIGKILL"}


def test_a_process_that_never_ends_is_ended_and_its_cell_comes_last_from_then_on(tmp_path: Path) -> None:
    asked = bad(tmp_path, "Sleeper")

    def ended_by_force(in_time: Callable[[], bool]) -> None:
        """Launch with ever more seconds, as the machine needs them to come so far."""
        for allowed in (20, 60, 180):
            started = time.monotonic()
            ended = launch(dataclasses.replace(asked, until=started + allowed), allowed)
            assert (ended.error, ended.in_time) == (f"its {allowed} s were up", False)
            assert allowed <= time.monotonic() - started < allowed + 10
            if in_time():
                return
        pytest.fail("the cell was never begun")

    ended_by_force(lambda: read_stage(asked.path).running is not None)
    assert read_stage(asked.path).running.startswith("site N=64")
    assert statuses(asked) == ["missing"] * 3
    ended_by_force(lambda: "ok" in statuses(asked))
    assert statuses(asked) == ["missing", "missing", "ok"]


def test_a_stage_that_cannot_begin_says_why(tmp_path: Path) -> None:
    asked = order(tmp_path, sizes={"least": 1, "cells": {"a": {**SITE, "methods": ["nobody"]}}})
    assert run_stage(asked, 120).error.startswith("unknown method 'nobody' in cells")
    asked.path.write_text("{", encoding="utf-8")
    ended = run_stage(
        dataclasses.replace(asked, sizes={"least": 1, "cells": {"a": {**SITE, "methods": ["none"]}}}), 120
    )
    assert "delete it to measure its rows again" in ended.error


def test_words_for_how_a_process_ended() -> None:
    assert launching._outcome(-11, "") == Ended("its process ended by SIGSEGV")
    assert launching._outcome(1, "no json") == Ended("its process ended with exit status 1")
    assert launching._outcome(0, 'noise\n{"error": null, "found": 3}\n') == Ended(None, 3)


def seconds_order(folder: Path, **changes) -> Order:
    sizes = composed()["cpu"]["seconds"] | {
        "tables": ["table2"],
        "backends": ["gather"],
        "apart": [],
        "naive": ["none"],
    }
    return order(folder, "seconds", sizes=sizes | changes)


def test_seconds_are_a_table_with_the_papers_values(tmp_path: Path) -> None:
    asked = seconds_order(tmp_path, naive=["retom"])
    seconds.seconds(asked)
    rows = list(csv.DictReader(asked.path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["destination"], row["attention"], row["status"]) for row in rows] == [
        ("The Most Rep. Token", "sdpa", "ok"),
        ("The Least Rep. Token", "sdpa", "ok"),
        ("The Most Rep. Token", "naive", "ok"),
    ]
    assert all(float(row["s_per_im"]) > 0 for row in rows)
    assert all((row["architecture"], row["n"], row["speedup"]) == ("tiny", "1", "") for row in rows)  # no row of none
    before = asked.path.read_text(encoding="utf-8")
    seconds.seconds(seconds_order(tmp_path, naive=["retom"]))  # all is kept, and made into the same rows
    assert json.loads(asked.path.read_text(encoding="utf-8"))["rows"] == json.loads(before)["rows"]


def test_a_slow_method_that_does_not_fit_is_estimated_from_one_call(tmp_path: Path) -> None:
    asked = seconds_order(tmp_path, tables=["table1"], apart=["atc"], steps=1000)
    cell = seconds.tasks(asked, seconds.contenders(["none", "atc"], ["gather"], ["none"]))[1].cell
    specs = {"atc": {"method": "atc"}}
    found = seconds.too_slow(dataclasses.replace(asked, until=time.monotonic() + 2), cell, specs)
    assert found["s_per_im_estimate"] > 2
    assert "an image takes about" in found["error"]
    short = dataclasses.replace(cell, steps=1)
    assert seconds.too_slow(dataclasses.replace(asked, until=time.monotonic() + 600), short, specs) is None
    broken = seconds.too_slow(asked, short, {"atc": {"method": "atc", "ratio": 7}})
    assert (broken["status"], "ratio must be in" in broken["error"]) == ("failed", True)


def test_training_goes_on_from_its_checkpoints_and_says_how_far_it_is(tmp_path: Path) -> None:
    write_split(tmp_path, "train", 4)
    write_split(tmp_path, "val", 4)
    overrides = ["device=cpu", "dtype=float32", "stages=[clip]", "clip.batch=2"]

    def rows(steps: int) -> list[tuple[str, str, int]]:
        sizes = {"data": str(tmp_path), "overrides": [*overrides, f"clip.steps={steps}"]}
        asked = order(tmp_path, "training", sizes=sizes)
        assert run_stage(asked, 120).error is None
        return [(row["title"], row["status"], row["steps"]) for row in read_stage(asked.path).rows]

    assert rows(2) == [("clip", "ok", 2)]
    assert rows(3) == [("clip", "ok", 3)]
    assert training.progress(tmp_path / "training", [*overrides, "clip.steps=5"]) == [
        {"title": "clip", "method": "training", "status": "missing", "steps": 3, "error": "3 of 5 steps so far"}
    ]


def run_command(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "scripts.gpu", "device=cpu", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def overview(results: Path) -> dict:
    return json.loads((results / "smoke" / "gpu_cpu.json").read_text(encoding="utf-8"))


def test_the_command_keeps_to_its_minutes_reports_every_stage_and_goes_on(tmp_path: Path) -> None:
    """How far it comes in two minutes is the machine's affair; again and again it comes to the end."""
    before: dict[tuple, dict] = {}
    for minutes in (2, 4, 8):
        started = time.monotonic()
        done = run_command(f"minutes={minutes}", f"results={tmp_path}")
        assert time.monotonic() - started < 60 * minutes + 10
        assert done.returncode == 0, done.stderr
        assert max(map(len, done.stdout.splitlines())) <= 100
        found = overview(tmp_path)
        assert [stage["name"] for stage in found["stages"]] == [stage for stage in STAGES if stage != "training"]
        rows = {(row["stage"], row["cell"], row["method"]): row for row in found["rows"]}
        unmeasured = {key[:2] for key, row in before.items() if row["status"] != "ok"}
        for key, row in before.items():  # whole cells are kept, and none is lost
            assert row["status"] != "ok" or rows[key]["status"] == "ok"
            assert key[:2] in unmeasured or rows[key]["seconds"] == row["seconds"]
        assert {row["status"] for row in rows.values()} <= {"ok", "missing"}
        if all(row["status"] == "ok" for row in rows.values()):
            break
        before = rows
    assert {row["status"] for row in rows.values()} == {"ok"}
    for name in ("gpu_cpu.md", "gpu_cpu.csv", "agree_cpu.json", "speed_cpu.md", "bench_cpu_sites.csv"):
        assert (tmp_path / "smoke" / name).stat().st_size, name


def test_a_stage_that_fails_is_reported_and_the_next_one_runs(tmp_path: Path) -> None:
    done = run_command(
        "minutes=1.5", f"results={tmp_path}", "stages=[denoisers,agree]", "cpu.denoisers.cells.tiny.models=[big]"
    )
    assert done.returncode == 1
    stages = {stage["name"]: stage["state"] for stage in overview(tmp_path)["stages"]}
    assert stages["denoisers"].startswith("failed: cells.tiny: models must be of")
    assert stages["agree"].endswith(" ok")
    assert "denoisers failed: cells.tiny: models must be of" in done.stderr
