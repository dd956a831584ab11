"""The sweep of a run, given to the commands that read its records."""

import csv
from pathlib import Path

import pytest

import scripts.claims
import scripts.figure3
import scripts.report
import scripts.run
import scripts.tables
from scripts.command_line.sweeps import parts
from tests.scripts.conftest import SMALLEST

CHOICES = ["experiment=table1", *SMALLEST, "sampler.steps=1", "timing=off"]


def statuses(path: Path) -> dict[str, str]:
    rows = csv.DictReader(path.read_text().splitlines())
    return {row["run_id"].rpartition("-")[0].removeprefix("table1/") or row["model"]: row["status"] for row in rows}


def test_methods_options_and_seeds_are_rows_of_one_table() -> None:
    (part,) = parts(["experiment=table1", "method=none,tomesd", "--multirun"])
    assert part.arguments == ("experiment=table1", "method=none")
    assert part.jobs == ("experiment=table1", "method=none,tomesd")
    assert (part.methods, part.folder) == (("none", "tomesd"), "")
    (part,) = parts(["method=retom", "method.ratio=range(1,4)", "backend=gather,matmul"])
    assert part.arguments == ("method=retom", "backend=gather")
    (part,) = parts(["prompts.seed=3,1"])
    assert part.arguments == ("prompts.seed=3", "seeds=[3,1]")
    (part,) = parts(["prompts.seed=3,1", "seeds=[3]"])
    assert part.arguments == ("prompts.seed=3", "seeds=[3]")


def test_names_by_a_pattern_are_those_of_the_folder() -> None:
    (part,) = parts(["method=glob(retom_fixed*,exclude=*random)"])
    assert part.methods == ("retom_fixed_16", "retom_fixed_2", "retom_fixed_8")
    assert part.jobs == ("method=retom_fixed_16,retom_fixed_2,retom_fixed_8",)


def test_another_protocol_is_another_part() -> None:
    found = parts(["model=tiny,tiny_random", "sampler.guidance=choice(1.5,7)", "method=none,retom"])
    assert [part.folder for part in found] == [
        "model-tiny_guidance-1.5",
        "model-tiny_guidance-7",
        "model-tiny_random_guidance-1.5",
        "model-tiny_random_guidance-7",
    ]
    assert found[-1].arguments == ("model=tiny_random", "sampler.guidance=7", "method=none")
    assert found[-1].jobs == ("model=tiny_random", "sampler.guidance=7", "method=none,retom")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["method=[none"],
        ["nothing"],
        ["~method"],
        ["prompts.classes=[n01440764,n01443537]"],
        ["x='a,b'"],
        ["results="],
    ],
)
def test_what_is_no_sweep_stays_as_it_is(arguments: list[str]) -> None:
    (part,) = parts(arguments)
    assert part.arguments == part.jobs == tuple(arguments)


def test_a_command_that_looks_at_one_method_keeps_its_own() -> None:
    assert parts(["method=none,retom", "seed=3"], one_method=True)[0].arguments == ("seed=3",)
    assert parts(["method=none"], one_method=True)[0].arguments == ("method=none",)


def test_the_arguments_of_a_run_make_its_tables_and_report(command, tmp_path: Path, capsys) -> None:
    chosen = [*CHOICES, "method=none,retom"]
    assert command(scripts.run, "--multirun", *chosen) == 0
    capsys.readouterr()
    assert command(scripts.tables, *chosen) == 0
    output = capsys.readouterr().err
    assert output.count("table1: a partial table; method=none,retom leaves out 6 rows (tomesd, atc, ") == 1
    assert command(scripts.report, *chosen) == 0
    assert (tmp_path / "smoke" / "report.html").is_file()
    assert "Ambiguous" not in capsys.readouterr().err
    found = statuses(tmp_path / "smoke" / "table1.csv")
    assert (found["none"], found["retom"], found["ToMeSD"]) == ("ok", "ok", "missing")
    assert command(scripts.tables, *CHOICES) == 1  # all rows are asked for
    assert command(scripts.tables, *CHOICES, "method=none,tomesd") == 1  # a chosen one is missing
    assert "1 of 2 runs of this sweep have no record (first: method=tomesd)" in capsys.readouterr().err


def test_options_and_seeds_of_a_sweep(command, tmp_path: Path, capsys) -> None:
    assert command(scripts.run, *CHOICES, "method=none") == 0
    chosen = [*CHOICES, "method=retom", "method.ratio=0.25,0.5", "prompts.seed=0,1"]
    assert command(scripts.run, "--multirun", *chosen) == 0
    assert command(scripts.tables, *chosen) == 0
    rows = list(csv.DictReader((tmp_path / "smoke" / "table1.csv").read_text().splitlines()))
    assert [row["model"] for row in rows if row["seeds"] == "2"] == ["ReToM (Ours)", "ReToM (Ours), ratio=0.25"]


def test_each_protocol_of_a_sweep_has_a_folder(command, tmp_path: Path) -> None:
    chosen = [*CHOICES, "method=none", "sampler.guidance=2,3"]
    assert command(scripts.run, "--multirun", *chosen) == 0
    assert command(scripts.tables, *chosen) == 0
    assert command(scripts.report, *chosen) == 0
    for guidance in (2, 3):
        folder = tmp_path / "smoke" / f"guidance-{guidance}"
        assert f"guidance {guidance}," in (folder / "table1.md").read_text()
        assert (folder / "report.html").is_file()
    assert not (tmp_path / "smoke" / "table1.csv").exists()


def test_a_mistake_in_a_sweep_is_still_one_line(command, capsys) -> None:
    for module in (scripts.tables, scripts.report, scripts.claims, scripts.figure3):
        assert command(module, *CHOICES, "method=none,retmo") == 1
        output = capsys.readouterr().err
        assert "Traceback" not in output
        assert len([line for line in output.splitlines() if line.startswith("error: ")]) == 1, (module, output)
