"""The commands as a user types them: experiments end to end, mistakes in one sentence, exit statuses, Ctrl-C."""

import csv
import errno
import os
from pathlib import Path

import pytest

import scripts.run
import scripts.tables
from scripts.command_line.entry import print_error
from tests.scripts.conftest import SMALLEST

TIMING = ("timing=smoke", "timing.warmup=0", "timing.images=1")


def rows_of(path: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.mark.parametrize(
    ("experiment", "tables"),
    [
        ("table1", ["table1"]),
        ("table2", ["table2"]),
        pytest.param("smoke", ["table1", "table2"], marks=pytest.mark.slow),
    ],
)
def test_every_experiment_runs_on_the_tiny_model(experiment, tables, command, tmp_path: Path, capsys) -> None:
    choices = [f"experiment={experiment}", *SMALLEST, "sampler.steps=1", *TIMING]
    assert command(scripts.run, "--multirun", *choices) == 0
    assert command(scripts.tables, *choices) == 0
    printed = capsys.readouterr().out
    for name in tables:
        rows = rows_of(tmp_path / "smoke" / f"{name}.csv")
        assert {row["status"] for row in rows} == {"ok"}
        assert all("fid_smoke" in row and "fid" not in row for row in rows)
        title = (tmp_path / "smoke" / f"{name}.md").read_text().splitlines()[0].removeprefix("# ")
        assert title in printed.splitlines()
        assert "|" not in printed  # the table for people, not the file
    assert not list(Path.cwd().glob("multirun*"))


def test_one_failing_row_stops_no_other(command, capsys) -> None:
    choices = ["experiment=table2", *SMALLEST, "timing=off"]
    # Windows of one token merge nothing.
    assert command(scripts.run, "--multirun", *choices, "method=retom_least,retom", "method.window=1,4") == 1
    output = capsys.readouterr().err
    assert output.count("error: method retom") == 2  # the summary names each reason again
    assert [output.count(f"\n{status} ") for status in ("failed", "done")] == [2, 2]


def test_ctrl_c_while_the_jobs_are_summed_up_is_reported_like_any_other(command, capsys, monkeypatch) -> None:
    def pressed(*_) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scripts.run, "planned", pressed)
    assert command(scripts.run, *SMALLEST, "sampler.steps=1", "timing=off", "method=none") == 130
    assert "interrupted: finished work is saved" in capsys.readouterr().err


def test_a_missing_row_stays_in_the_table_and_fails_the_command(command, tmp_path: Path) -> None:
    choices = ["experiment=table2", *SMALLEST, "timing=off"]
    assert command(scripts.run, *choices, "method=retom") == 0
    assert command(scripts.tables, *choices) == 1
    rows = rows_of(tmp_path / "smoke" / "table2.csv")
    assert [row["status"] for row in rows] == ["ok", "missing"]


def test_runs_of_a_sweep_that_are_not_there_fail_the_command(command, capsys) -> None:
    choices = ["experiment=sweep_ratio", *SMALLEST, "sampler.steps=1", "timing=off"]
    assert command(scripts.run, *choices, "method=none") == 0
    assert command(scripts.run, "--multirun", *choices, "method.ratio=0.1,0.5") == 0
    assert command(scripts.tables, *choices) == 1
    output = capsys.readouterr().err
    assert "3 of 5 runs of this sweep have no record (first: method=retom method.ratio=0.25)" in output
    assert command(scripts.run, "--multirun", *choices) == 0
    assert command(scripts.tables, *choices) == 0


def test_tables_of_other_choices_are_refused(command, capsys) -> None:
    choices = ["experiment=table2", *SMALLEST, "timing=off"]
    assert command(scripts.tables, *choices) == 1
    assert "run the rows first" in capsys.readouterr().err
    assert command(scripts.run, *choices, "method=none") == 0
    assert command(scripts.tables, "experiment=table2") == 1
    assert "repeat the choices of the run" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["method=retmo"], "unknown method 'retmo', the nearest is retom;"),
        (["--multirun", "method=none,retm"], "unknown method 'retm', the nearest is retom;"),
        (["backend=gahter"], "unknown backend 'gahter', the nearest is gather;"),
        (["model=tiny_randm"], "unknown model 'tiny_randm', the nearest is tiny_random;"),
        (["experiment=tabel1"], "unknown experiment 'tabel1', the nearest is table1;"),
        (["methd=retom"], "unknown key 'methd', the nearest is method;"),
        (["method.rtio=0.3"], "unknown key 'method.rtio', the nearest is method.ratio;"),
        (["method=none", "method.ratio=0.3"], "unknown key 'method.ratio'; there are none"),
        (["--multirun", "method=none,retom", "method.ratio=0.3"], "'method.ratio' is not a key of method=none"),
        (["--multirun", "experiment=table1", "method.ratio=0.3"], "'method.ratio' is not a key of method=none"),
        (
            ["--multirun", "method=none,retom", "method.rtio=0.3"],
            "unknown key 'method.rtio', the nearest is method.ratio",
        ),
        (["model=tiny_random", "sampler.step=3"], "unknown key 'sampler.step', the nearest is sampler.steps;"),
        (["model=tiny_random", "+method.rtio=0.3"], "unknown key method.rtio, the nearest is method.ratio"),
        (["model=tiny_random", "method.ratio=1.2"], "ratio must be in [0, 1), got 1.2"),
        (["model=tiny_random", "method.period=0"], "period must be an integer of at least 1, got 0"),
        (["model=tiny_random", "sampler.height=60"], "height must be a multiple of 8, got 60"),
        (["model=tiny_random", "prompts.classes=[n00000000]"], "unknown wnid 'n00000000'"),
        (["model=sd15"], "reference.path must be given"),
        (["method.ratio=[1"], "cannot read the override 'method.ratio=[1'"),
        (["runs=[a]"], "runs must be a text, got ['a']"),
        (["runs=../elsewhere"], "runs must be made of letters, digits,"),
        (["model=tiny_random", "metrics=none", "objective=fast"], "objective has no _target_; set it to the class"),
    ],
)
def test_a_mistake_is_one_line(arguments, sentence, command, capsys) -> None:
    assert command(scripts.run, *arguments) == 1
    output = capsys.readouterr().err
    assert f"error: {sentence}" in output or f": {sentence}" in output
    assert "Traceback" not in output
    assert len([line for line in output.splitlines() if line.startswith("error: ")]) == 1


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["seeds=5"], "seeds must be a list of integers, such as [0,1,2], got 5"),
        (["seeds=[a]"], "seeds must be a list of integers, such as [0,1,2], got ['a']"),
        (["select=tiny"], "select must be a mapping, such as {model:tiny}, or null, got 'tiny'"),
        (["tables=5"], "tables must be a mapping of tables, which have the keys name and rows, got 5"),
        (["gates=null"], "gates must be a text, got None"),
    ],
)
def test_what_is_no_choice_of_tables_is_reported(arguments, sentence, command, capsys) -> None:
    choices = ("experiment=table2", "model=tiny_random", *SMALLEST[1:], "timing=off")
    assert command(scripts.run, *choices, "method=none") == 0
    assert command(scripts.tables, *choices, *arguments) == 1
    output = capsys.readouterr().err
    assert f"error: {sentence}" in output
    assert "Traceback" not in output


@pytest.mark.parametrize("value", ["5", "", "null", "[a]"])
def test_results_that_are_no_folder_are_reported(value: str, command, tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    for module in (scripts.run, scripts.tables):
        assert command(module, "model=tiny_random", results=value) == 1
        assert "error: results must be a text, got " in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_ctrl_c_leaves_what_is_finished_and_says_so(command, monkeypatch, capsys) -> None:
    import scripts.jobs.run_row

    whole = scripts.jobs.run_row.generate

    def interrupted(pipe, items, *rest, **options):
        whole(pipe, items[:1], *rest, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(scripts.jobs.run_row, "generate", interrupted)
    choices = [*SMALLEST, "timing=off", "method=retom"]
    assert command(scripts.run, *choices) == 130
    assert "run the same command again to resume" in capsys.readouterr().err
    monkeypatch.setattr(scripts.jobs.run_row, "generate", whole)
    assert command(scripts.run, *choices) == 0


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk_is_reported_in_one_line(capsys, code: int) -> None:
    print_error(OSError(code, os.strerror(code), "results/cache/features/a.npz"))
    output = capsys.readouterr().err
    assert output.startswith("error: the disk cannot be written at results/cache/features/a.npz")
    assert len(output.splitlines()) == 1
