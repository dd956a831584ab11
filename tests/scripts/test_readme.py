"""The targets of the Makefile that the README names, and what they run. Its code and commands: tests/docs."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_make_targets_exist() -> None:
    named = set(re.findall(r"\bmake ([a-z0-9-]+)", README)) - {"and"}
    assert {"smoke", "test", "table1", "table2", "help"} <= named
    for target in sorted(named):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("choices", "commands"),
    [("model=tiny", ["run", "tables", "claims", "report", "summary"]), ("model=tiny --dry-run", ["run"])],
)
def test_a_dry_run_of_a_table_builds_no_table(choices: str, commands: list[str]) -> None:
    printed = subprocess.run(
        ["make", "--dry-run", "table1", f"ARGS={choices}"], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert re.findall(r"-m scripts\.(\w+)", printed) == commands


def test_make_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9-]+):", makefile, flags=re.MULTILINE))
    help_command = ["make", "--no-print-directory", "help"]  # under another make, its lines would name the folder
    output = subprocess.run(help_command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert targets == set(re.findall(r"^  make ([a-z0-9-]+)", output, flags=re.MULTILINE))
    assert max(map(len, output.splitlines())) <= 100
