"""`python -m scripts.gpu` on the CPU: sizes, what is kept, what is left out, and processes that end badly."""

import csv
import json
from pathlib import Path

import pytest

from eval.errors import RunError
from eval.speed.bench.budget import NoTimeLeftError
from eval.speed.bench.cells import expand
from eval.speed.bench.stage_file import read_stage
from scripts import gpu
from scripts.bench_cases.methods import contender
from scripts.command_line.entry import ROOT
from scripts.gpu_stages import cells as stage_cells
from scripts.gpu_stages import machine, seconds
from scripts.gpu_stages.agree import read_tally
from scripts.gpu_stages.cells import bench_methods
from scripts.gpu_stages.order import BENCHES, STAGES, Order, stage_path
from tests.scripts.gpu_orders import SAME, SITE, composed, order, rows_of, statuses


@pytest.mark.parametrize("kind", ["cuda", "cpu"])
@pytest.mark.parametrize("stage", BENCHES)
def test_every_cell_names_methods_that_build(kind: str, stage: str) -> None:
    sizes, specs = composed()[kind][stage], bench_methods()
    cells = expand(sizes["cells"], kind)
    built = {name: contender(name, specs, 0.5) for cell in cells for name in cell.methods}
    assert {"none"} <= set(built)
    for cell in cells:
        odd = [name for name in cell.methods if built[name].period > cell.rounds and not built[name].alike]
        assert odd == []  # what they cost needs a whole period
    if kind == "cuda":
        assert {cell.dtype for cell in cells} == {"float16"}


def test_the_denoisers_are_those_that_matter_in_the_order_of_importance() -> None:
    cells = expand(composed()["cuda"]["denoisers"]["cells"], "cuda")
    places = [(cell.model, cell.pixels, cell.batch) for cell in cells]
    assert places == [("sd15", 512, 2), ("sd15", 1024, 2), ("sdxl", 1024, 2),
                      ("sd15", 512, 16), ("sd15", 1024, 16), ("sdxl", 1024, 16)]  # fmt: skip
    for cell in cells:
        assert cell.methods == ("none", "oracle", "tomesd", "retom_p20_triton", "retom_p20", "retom_p1_triton")
    first, second = expand(composed()["cuda"]["compiled"]["cells"], "cuda")[:2]
    assert (first.mode, first.pixels, first.batch) == ("default", 512, 2)
    assert (second.mode, second.pixels, second.batch) == ("reduce-overhead", 512, 2)


def test_the_seconds_are_of_every_row_of_both_tables() -> None:
    sizes = composed()["cuda"]["seconds"]
    specs = seconds.contenders([row["method"] for row in _paper(sizes)], sizes["backends"], sizes["first"])
    made = seconds.tasks(Order("seconds", "cuda", sizes=sizes), specs)
    fast, atc, naive = (task.cell for task in made)
    assert len(_paper(sizes)) == 9
    assert set(fast.methods) == {row["method"] for row in _paper(sizes)} - {"atc"} | {
        f"{name}_triton" for name in ("retom", "retom_least", "retom_random", "retom_fixed_2", "retom_fixed_8",
                                      "retom_fixed_16")}  # fmt: skip
    assert fast.methods[:4] == ("none", "tomesd", "retom", "retom_triton")
    assert (fast.pixels, fast.steps, fast.dtype, fast.batch, fast.attention) == (512, 50, "float16", 1, "sdpa")
    assert fast.rounds >= sizes["least"] >= 5
    assert (atc.methods, atc.rounds, atc.warmup) == (("atc",), 1, 0)
    assert (naive.attention, naive.methods) == ("naive", ("none", "tomesd", "retom", "retom_triton"))
    assert contender("tomesd", specs, 0.5).method.max_downsample == 1  # as the tables' runs have it


def _paper(sizes: dict) -> list[dict]:
    return seconds.merged_tables(map(seconds.paper_rows, sizes["tables"]))


def test_an_unknown_table_is_named() -> None:
    with pytest.raises(RunError, match=r"seconds\.tables has 'table3', but experiment/table3\.yaml has no table"):
        seconds.paper_rows("table3")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("minutes=0", r"minutes must be in \(0, inf\), got 0"),
        ("minutes=ten", "minutes must be in .*, got 'ten'"),
        ("device=tpu", "device must be cpu, cuda or cuda:N, got 'tpu'"),
        ("stages=[seconds,dance]", r"stages must be a list of agree, .*, got \['seconds', 'dance'\]"),
        ("stages=[sites,sites]", "each at most once"),
        ("stages=seconds", "stages must be a list of"),
        ("again=1", "again must be true or false, got 1"),
        ("cuda.shares.sites=0", r"cuda\.shares\.sites must be in \(0, inf\), got 0"),
    ],
)
def test_what_is_wrong_is_reported_before_anything_runs(override: str, message: str) -> None:
    with pytest.raises((ValueError, RunError), match=message):
        gpu.check(composed(override))


def test_a_machine_without_a_driver_is_reported_at_once(monkeypatch, command, capsys) -> None:
    monkeypatch.setattr(machine, "DRIVERS", ("libno_such_driver.so.1",))
    assert command(gpu) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "error: device=cuda was requested but this machine has no CUDA device; device=cpu minutes=2 runs the same "
        "stages at toy sizes"
    ]


def test_what_decides_the_timing_is_there_to_be_hashed() -> None:
    assert [place for place in machine.TIMED if not (ROOT / place).exists()] == []


def test_names_of_cards_are_names_of_files() -> None:
    assert machine.slug("NVIDIA H100 80GB HBM3") == "nvidia-h100-80gb-hbm3"
    assert stage_path(Path("r"), "sites", "h100") == Path("r/bench_h100_sites.json")
    assert stage_path(Path("r"), "seconds", "h100") == Path("r/speed_h100.json")
    assert len({stage_path(Path("r"), stage, "h100") for stage in STAGES}) == len(STAGES)


def test_what_was_measured_is_reused_and_the_rest_is_made(tmp_path: Path, monkeypatch) -> None:
    first = order(tmp_path)
    stage_cells.bench(first)
    assert statuses(first) == ["ok"] * 2
    before = rows_of(first)
    seen = []
    measure = stage_cells.measure_cell
    monkeypatch.setattr(stage_cells, "measure_cell", lambda cell, *a, **k: seen.append(cell) or measure(cell, *a, **k))
    more = {"least": 2, "cells": {"a": {**SITE, "methods": ["none", "oracle"]},
                                  "b": {**SITE, "methods": ["none"], "batch": [1]}}}  # fmt: skip
    stage_cells.bench(order(tmp_path, sizes=more))
    assert [cell.batch for cell in seen] == [1]
    after = read_stage(first.path).rows
    assert [row["status"] for row in after] == ["ok"] * 3
    assert [row["samples"] for row in after[:2]] == [row["samples"] for row in before.values()]
    stage_cells.bench(order(tmp_path, sizes=more, same={**SAME, "code": "2"}))
    assert len(seen) == 3  # other code: nothing of it is valid
    stage_cells.bench(order(tmp_path, sizes=more, same={**SAME, "code": "2"}, again=True))
    assert len(seen) == 5


def test_what_does_not_fit_is_a_missing_row_and_comes_next_time(tmp_path: Path) -> None:
    late = order(tmp_path, left=-1.0)
    stage_cells.bench(late)
    assert statuses(late) == ["missing"] * 2
    assert all("the time was up before its turn" in row["error"] for row in rows_of(late).values())
    lines = list(csv.DictReader(late.path.with_suffix(".csv").read_text(encoding="utf-8").splitlines()))
    assert [line["status"] for line in lines] == ["missing"] * 2
    stage_cells.bench(order(tmp_path))
    assert statuses(late) == ["ok"] * 2


def test_what_failed_is_tried_again_after_what_never_had_its_turn(tmp_path: Path, monkeypatch) -> None:
    sizes = {"least": 2, "cells": {"a": {**SITE, "methods": ["none", "tomesd"], "ratio": [0.9]},
                                   "b": {**SITE, "methods": ["none"], "batch": [1]}}}  # fmt: skip
    only = {"least": 2, "cells": {"a": sizes["cells"]["a"]}}
    stage_cells.bench(order(tmp_path, sizes=only))
    assert statuses(order(tmp_path)) == ["ok", "failed"]
    seen = []
    measure = stage_cells.measure_cell
    monkeypatch.setattr(stage_cells, "measure_cell", lambda cell, *a, **k: seen.append(cell) or measure(cell, *a, **k))
    stage_cells.bench(order(tmp_path, sizes=sizes))
    assert [cell.batch for cell in seen] == [1, 2]
    assert statuses(order(tmp_path)) == ["ok", "failed", "ok"]


def test_a_cell_measured_in_part_replaces_no_fuller_one(tmp_path: Path, monkeypatch) -> None:
    sizes = {"least": 2, "cells": {"a": {**SITE, "methods": ["none", "tomesd", "oracle"], "ratio": [0.9]}}}
    stage_cells.bench(order(tmp_path, sizes=sizes))
    before = read_stage(order(tmp_path).path).rows
    assert [row["status"] for row in before] == ["ok", "failed", "ok"]

    def nothing(cell, *_, **__):
        return stage_cells.unmeasured(cell, "no time")

    monkeypatch.setattr(stage_cells, "measure_cell", nothing)
    stage_cells.bench(order(tmp_path, sizes=sizes))
    after = read_stage(order(tmp_path).path).rows
    assert [row["status"] for row in after] == ["ok", "missing", "ok"]
    assert after[0]["samples"] == before[0]["samples"]


def test_files_are_there_from_the_beginning_and_name_the_running_cell(tmp_path: Path, monkeypatch) -> None:
    asked = order(tmp_path)
    seen = []

    def look(cell, *_, **__):
        seen.append(read_stage(asked.path))
        raise KeyboardInterrupt

    monkeypatch.setattr(stage_cells, "measure_cell", look)
    with pytest.raises(KeyboardInterrupt):
        stage_cells.bench(asked)
    assert [row["status"] for row in seen[0].rows] == ["missing"] * 2
    assert seen[0].running.startswith("site N=64")


def test_a_cell_given_up_is_failed_and_not_begun(tmp_path: Path) -> None:
    title = expand(order(tmp_path).sizes["cells"], "cpu")[0].title
    stage_cells.bench(order(tmp_path, given_up={title: "its process ended by SIGKILL"}))
    assert [(row["status"], row["error"]) for row in rows_of(order(tmp_path)).values()] == [
        ("failed", "its process ended by SIGKILL")
    ] * 2


def test_a_lost_device_ends_the_process_and_names_the_cell(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(stage_cells, "_lost", lambda device: "an illegal memory access was encountered")
    with pytest.raises(stage_cells.DeviceLostError, match=r"lost in site N=64 .*: an illegal memory access"):
        stage_cells.bench(order(tmp_path))
    assert read_stage(order(tmp_path).path).running.startswith("site N=64")


def test_the_last_word_on_a_test_counts(tmp_path: Path) -> None:
    lines = [("a", "passed", ""), ("b", "skipped", "no device"), ("a", "failed", "teardown")]
    text = "".join(json.dumps(dict(zip(("test", "outcome", "why"), line, strict=True))) + "\n" for line in lines)
    (tmp_path / "tally").write_text(text, encoding="utf-8")
    assert [(row["title"], row["status"], row["error"]) for row in read_tally(tmp_path / "tally")] == [
        ("a", "failed", "teardown"),
        ("b", "skipped", "no device"),
    ]


def test_a_limit_that_is_over_leaves_every_method_out(tmp_path: Path) -> None:
    cell = expand({"a": {**SITE, "methods": ["none"]}}, "cpu")[0]
    (row,) = stage_cells.measure_cell(cell, bench_methods(), limit=order(tmp_path, left=-1).limit)
    assert row["status"] == "missing"
    assert issubclass(NoTimeLeftError, RunError)
