"""Overrides that no command can use are refused in one line, by every command; and the commands without any."""

import pytest

import scripts.bench
import scripts.check_results
import scripts.claims
import scripts.figure3
import scripts.gates
import scripts.gpu
import scripts.report
import scripts.run
import scripts.show
import scripts.tables
import scripts.train_tiny
import scripts.verify
from eval.errors import RunError
from scripts.command_line.arguments import check_arguments
from scripts.command_line.entry import CONF
from scripts.command_line.nearest import top_level
from tests.scripts.conftest import SMALLEST


def output(capsys) -> str:
    text = "".join(capsys.readouterr())
    assert "Traceback" not in text
    lines = [line for line in text.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, text
    return lines[0].removeprefix("error: ")


@pytest.mark.parametrize(
    "group", ["method", "model", "sampler", "metrics", "prompts", "reference", "timing", "tracker"]
)
@pytest.mark.parametrize("flag", [[], ["--dry-run"], ["--multirun"]])
def test_a_group_taken_away_is_one_line(group: str, flag: list[str], command, capsys) -> None:
    assert command(scripts.run, *flag, *SMALLEST, f"~{group}") == 1
    line = output(capsys)
    assert line.startswith(f"~{group} deletes {group}, which a configuration must have; set {group}=NAME of ")
    assert {path.stem for path in (CONF / group).glob("*.yaml")} <= {*line.partition("NAME of ")[2].split(", ")}


@pytest.mark.parametrize(
    "key",
    ["method.ratio", "sampler.steps", "model.name", "results", "runs", "tables", "seeds", "trusted", "backend.name"],
)
@pytest.mark.parametrize("module", [scripts.run, scripts.tables, scripts.report], ids=lambda module: module.__name__)
def test_a_key_taken_away_is_one_line(key: str, module, command, capsys) -> None:
    assert command(module, *SMALLEST, "experiment=table1", f"~{key}") == 1
    assert output(capsys) == f"~{key} deletes {key}, which a configuration must have; set {key}=VALUE"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["model=null"], "model=null names no model; set model=NAME of flux, "),
        (["method=null"], "method=null names no method; set method=NAME of atc, "),
        (["--multirun", "method=none,null"], "method=none,null names no method; set"),
        (["sampler=5"], "sampler=5 names no sampler; set"),
        (["experiment=null"], "experiment=null names no experiment; leave it out, or set experiment=NAME of"),
        (["+method=retom"], "+method=retom adds a second method; leave out the +"),
        (["+methd=retom"], "unknown key 'methd', the nearest is method; there are"),
        (["++shrad.count=2"], "unknown key 'shrad.count', the nearest is shard; there are"),
        (["~nothing.at"], "unknown key 'nothing.at'"),
        (["=3"], "cannot read the override '=3', which names no key; write name=value"),
        (["~"], "cannot read the override '~', which names no key; write name=value"),
        (["method"], "cannot read the override 'method': Error parsing override 'method'; write name=value"),
        (["sampler.steps=1,2"], "sampler.steps has the values 1,2; sweep over them with --multirun, or quote"),
        (
            ["method=[none,retom]"],
            "method must be one choice, such as method=retom; several are a sweep, such as --multirun",
        ),
        (["method=[retom]"], "method must be one choice"),
        (["model.name=null"], "model.name must be a text, got None"),
        (["+method.x=1"], "unknown key method.x, the nearest is"),
    ],
)
def test_what_chooses_nothing_is_one_line(arguments: list[str], sentence: str, command, capsys) -> None:
    assert command(scripts.run, *SMALLEST, "timing=off", *arguments) == 1
    assert output(capsys).startswith(sentence)


def test_ordinary_overrides_pass() -> None:
    ordinary = [
        *SMALLEST,
        "--multirun",
        "method=none,retom",
        "+select.model=tiny",
        "++method.ratio=0.3",
        "hydra.verbose=true",
    ]
    check_arguments(
        [*ordinary, "~hydra.sweeper.params", "hydra/launcher=slurm", "model=tiny_random", "seeds=[0,1]"], CONF, "config"
    )
    with pytest.raises(RunError, match="unknown key 'prompt'"):
        check_arguments(["+prompt=x"], CONF, "config")
    check_arguments(["+prompt=x"], CONF, "show")


@pytest.mark.parametrize(
    "config", ["config", "bench", "check_results", "figure3", "gpu", "show", "train_tiny", "verify"]
)
def test_the_keys_at_the_top_are_those_that_hydra_composes(config: str) -> None:
    from hydra import compose, initialize_config_dir

    with initialize_config_dir(str(CONF), version_base="1.3"):
        names = set(compose(config))
    assert names <= top_level(CONF, config) <= names | {"experiment"}


NO_EXPERIMENTS = [scripts.verify, scripts.bench, scripts.gpu, scripts.check_results, scripts.train_tiny]


@pytest.mark.parametrize("module", NO_EXPERIMENTS, ids=lambda module: module.__name__)
def test_a_command_without_experiments_names_its_own_keys(module, command, capsys) -> None:
    assert command(module, "experiment=smoke") == 1
    line = output(capsys)
    assert line.startswith("unknown key 'experiment'")
    assert "experiment" not in line.partition("there are ")[2]


@pytest.mark.parametrize(
    ("module", "typo", "meant"),
    [
        (scripts.verify, "rnu=a/b", "run"),
        (scripts.bench, "resluts=x", "results"),
        (scripts.gpu, "minuts=2", "minutes"),
        (scripts.check_results, "trustd=[]", "trusted"),
        (scripts.train_tiny, "stags=[]", "stages"),
        (scripts.show, "promt=x", "prompt"),
        (scripts.figure3, "figre3.step=1", "figure3"),
        (scripts.claims, "experimnt=table1", "experiment"),
        (scripts.gates, "selct=x", "select"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_a_typo_in_any_command_is_answered_with_the_nearest(module, typo: str, meant: str, command, capsys) -> None:
    assert command(module, typo) == 1
    assert output(capsys).startswith(f"unknown key {typo.partition('=')[0]!r}, the nearest is {meant}; there are")


@pytest.mark.parametrize("arguments", [[], ["run="], ["run=null"]])
def test_verify_without_a_run_says_what_to_give(arguments: list[str], command, capsys) -> None:
    assert command(scripts.verify, *arguments) == 1
    printed = output(capsys)
    assert printed.startswith("run must name a run: the run_id of a table's row, such as run=table1/retom-0123456789ab")
