"""Every shell command of README.md and docs/ composes as it is; what has a small form runs at the smallest size."""

import importlib
import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from scripts.command_line import entry
from tests.docs.blocks import PAGES, Block, Command, blocks, commands, in_prose
from tests.docs.commands import TABLES, check_module, check_packages, made_of, module_of, small
from tests.scripts.conftest import _give_logging_back

SHELL = [block for page in PAGES for block in blocks(page) if block.language == "sh"]
SKIPPED = [block for block in SHELL if block.reason]
SHOWN = [command for block in SHELL if not block.reason for command in commands(block)]
QUOTED = [command for page in PAGES for command in in_prose(page)]
NOT_YET = ("run the rows first", "there is no record", "have no record", "is no record")

# The plugin of the search asks for an Optuna of before SQLAlchemy 2.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*declarative_base\(\)")


def test_few_blocks_are_not_run_and_each_says_why() -> None:
    assert len(SKIPPED) <= 2, list(map(str, SKIPPED))
    assert all(len(block.reason) > 20 for block in SKIPPED)
    assert len(SHOWN) > 40


@pytest.mark.parametrize("command", {c.words: c for c in [*QUOTED, *SHOWN]}.values(), ids=str)
def test_a_command_is_one_that_the_project_has(command: Command, found: str) -> None:
    program, *arguments = command.words
    python = module_of(command.words)
    if python:
        check_module(*python, [found] if "trusted=" in str(command) or "mine" in str(command) else [])
    elif program == "make":
        for module, given in made_of(arguments):
            check_module(module, given)
    elif program == "pip":
        check_packages(arguments)
    else:
        assert command.words == ("source", ".venv/bin/activate")


@pytest.fixture(scope="session")
def pipeline_folder(tiny_original, tmp_path_factory) -> Path:
    """A pipeline that somebody saved."""
    folder = tmp_path_factory.mktemp("models") / "mine"
    tiny_original.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """One folder of results for all pages: a table finds the runs of the commands before it."""
    return tmp_path_factory.mktemp("results")


def called(module: str, arguments: list[str], monkeypatch) -> int:
    """Exit status of `python -m scripts.<module>` in this process."""
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    GlobalHydra.instance().clear()
    try:
        return importlib.import_module(f"scripts.{module}").main()
    finally:
        GlobalHydra.instance().clear()
        _give_logging_back()


def runnable() -> dict[str, list[Block]]:
    """Every different command that has a small form, in the order of the pages."""
    names = {}
    for command in SHOWN:
        python = module_of(command.words)
        if python and python[0].startswith("scripts.") and small(python[0][8:], python[1], Path("FOLDER")):
            names.setdefault(" ".join([python[0][8:], *small(python[0][8:], python[1], Path("FOLDER"))]), command)
    return names


@pytest.mark.slow
@pytest.mark.parametrize("command", runnable().values(), ids=str)
def test_a_command_runs_at_the_smallest_size(
    command, results, pipeline_folder, found, shown, monkeypatch, capsys
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    module, given = module_of(command.words)
    module = module.removeprefix("scripts.")
    arguments = [*small(module, given, pipeline_folder), f"results={results}"]
    if module == "bench":  # composes its methods by itself, from the project's folder alone
        monkeypatch.setattr(entry, "CONF", shown / "conf")
    status = called(module, [*arguments, *([] if module == "bench" else [found])], monkeypatch)
    output = "".join(capsys.readouterr())
    assert "Traceback" not in output
    assert status == 0 or (module in TABLES and any(sentence in output for sentence in NOT_YET)), output
