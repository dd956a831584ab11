"""`--help`: every command says what it is for, with examples that Hydra composes."""

import ast
import shlex
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir

from scripts.command_line.arguments import check_arguments
from scripts.command_line.entry import CONF, ROOT
from scripts.command_line.help import asks_for_help, examples, page
from scripts.command_line.prompting import translated
from scripts.command_line.sweeps import parts

CONFIGS = {path.stem for path in CONF.glob("*.yaml")} - {"config", "labels"}
COMMANDS = sorted(path for path in (ROOT / "scripts").glob("[a-z]*.py") if '__name__ == "__main__"' in path.read_text())


def config_of(command: Path) -> str:
    return command.stem if command.stem in CONFIGS else "config"


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_the_page_names_the_purpose_examples_and_what_can_be_chosen(command: Path) -> None:
    shown = page(command, CONF, config_of(command))
    assert shown.startswith(ast.get_docstring(ast.parse(command.read_text())).splitlines()[0])
    assert f"\n    python -m scripts.{command.stem}" in shown
    assert "--multirun" in shown
    assert "KEY=VALUE" in shown
    assert len(shown.splitlines()) <= 70  # two screens at most


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: path.stem)
def test_examples_are_command_lines_that_hydra_composes(command: Path) -> None:
    found = examples(page(command, CONF, config_of(command)))
    assert found
    for line in found:
        words = shlex.split(line)
        assert words[:3] == ["python", "-m", f"scripts.{command.stem}"]
        given = translated([word for word in words[3:] if word != "--dry-run"], {"--ui": "ui=true"})
        check_arguments(given, CONF, config_of(command))
        with initialize_config_dir(str(CONF), version_base="1.3"):
            assert compose(config_of(command), overrides=list(parts(given)[0].arguments))


def test_it_is_printed_instead_of_hydras_page_and_nothing_runs(monkeypatch, capsys) -> None:
    from scripts import tables

    monkeypatch.setattr(sys, "argv", [str(ROOT / "scripts" / "tables.py"), "--help"])
    with pytest.raises(SystemExit) as left:
        tables.main()
    assert left.value.code == 0
    assert capsys.readouterr().out.startswith("Rebuild the tables of an experiment from its records.")


def test_hydras_own_flags_are_left_to_hydra() -> None:
    assert not asks_for_help(["--hydra-help", "--cfg", "job", "--info", "method=none"])
    assert asks_for_help(["method=none", "-h"])
