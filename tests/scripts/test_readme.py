"""What the README shows is run: its library lines on the tiny pipeline, its commands up to their objects."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

import retom
from scripts.jobs.row import read_row
from tests.scripts.conftest import composed

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m scripts\.run (.+)$", README, flags=re.MULTILINE)


def test_the_library_lines_run(tiny_pipe, capsys) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)

    class SmallCalls(type(tiny_pipe)):
        """The same pipeline, whose calls take one step instead of fifty."""

        def __call__(self, prompt: str):
            return super().__call__(prompt, height=64, width=64, num_inference_steps=1)

    before = {name: set(vars(module)) for name, module in tiny_pipe.unet.named_modules()}
    tiny_pipe.__class__ = SmallCalls
    exec(compile(code, "README.md", "exec"), {"pipe": tiny_pipe})
    assert "'merged': 512" in capsys.readouterr().out
    assert {name: set(vars(module)) for name, module in tiny_pipe.unet.named_modules()} == before
    assert retom.apply_patch(tiny_pipe) == 16


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_compose_and_build(line: str) -> None:
    arguments = [argument for argument in shlex.split(line) if argument != "--multirun"]
    parsed = OverridesParser.create().parse_overrides(arguments)
    plain = [p.input_line for p in parsed if not p.is_sweep_override() and p.input_line != "prompts.classes=on_disk"]
    for override in parsed:
        choices = list(override.sweep_string_iterator()) if override.is_sweep_override() else []
        for choice in choices or [None]:
            extra = [] if choice is None else [f"{override.key_or_group}={choice}"]
            read_row(*composed(*plain, *extra))


def test_the_make_targets_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", README)) - {"and"}
    assert {"smoke", "test", "table1", "table2", "help"} <= named
    for target in sorted(named):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("choices", "commands"), [("model=tiny", ["run", "tables", "report"]), ("model=tiny --dry-run", ["run"])]
)
def test_a_dry_run_of_a_table_builds_no_table(choices: str, commands: list[str]) -> None:
    printed = subprocess.run(
        ["make", "--dry-run", "table1", f"ARGS={choices}"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert re.findall(r"-m scripts\.(\w+)", printed) == commands


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, flags=re.MULTILINE))
    told = subprocess.run(["make", "help"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert targets == set(re.findall(r"^  make ([a-z0-9-]+)", told, flags=re.MULTILINE))
