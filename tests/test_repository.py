"""The files for contributors: workflows call make targets that exist, forms are valid, linked files exist."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.stem != "config")
MATRIX = "${{ matrix.target }}"


def stem(path: Path) -> str:
    return path.stem


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def targets() -> set[str]:
    """The targets of the Makefile that `make help` lists."""
    return set(re.findall(r"^([a-z0-9-]+):.*## ", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def called(path: Path) -> set[str]:
    """The make targets that a workflow calls, with those of its matrices."""
    found: set[str] = set()
    for job in load(path)["jobs"].values():
        for step in job["steps"]:
            names = re.findall(r"\bmake (\$\{\{ [\w.]+ \}\}|[\w-]+)", step.get("run", ""))
            found |= set(job["strategy"]["matrix"]["target"] if MATRIX in names else names)
    return found


def in_ci() -> set[str]:
    """The make targets that .ci/run calls."""
    return set(
        re.findall(r"^ *(?:timed|start \w+) make ([a-z-]+)", (ROOT / ".ci" / "run").read_text("utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=stem)
def test_a_workflow_calls_targets_that_exist(path: Path) -> None:
    assert called(path)
    assert called(path) <= targets()


def test_the_workflows_run_every_part_of_ci() -> None:
    assert len(in_ci()) > 8
    assert in_ci() <= set().union(*(called(path) for path in WORKFLOWS))


@pytest.mark.parametrize(("end", "status"), [("true", 0), ("exit 3", 3), ("sleep 60 &", 0), ("sleep 60 & exit 3", 3)])
def test_ci_removes_its_clone_and_keeps_its_exit_status(tmp_path: Path, end: str, status: int) -> None:
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    cleaning = re.search(r"^clean_up\(\) \{\n.*?^trap clean_up EXIT$", script, re.MULTILINE | re.DOTALL)[0]
    work = tmp_path / "work"
    work.mkdir()
    lines = f"set -euo pipefail\nwork={work}\n{cleaning}\n{end}\n"
    assert subprocess.run(["bash", "-c", lines], check=False, timeout=30).returncode == status
    assert not work.exists()


@pytest.mark.parametrize("path", WORKFLOWS, ids=stem)
def test_a_workflow_is_limited_and_pinned(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    for name, job in workflow["jobs"].items():
        assert job["timeout-minutes"] <= 120, name
        used = [step["uses"] for step in job["steps"] if "uses" in step]
        assert used[0].startswith("actions/checkout@")
        assert all(re.fullmatch(r"actions/[\w-]+@v\d+", action) for action in used), used


@pytest.mark.parametrize("path", FORMS, ids=stem)
def test_an_issue_form_is_valid(path: Path) -> None:
    form = load(path)
    assert {"name", "description", "body"} <= set(form) <= {"name", "description", "title", "labels", "body"}
    names = [field["id"] for field in form["body"]]
    assert len(names) == len(set(names))
    for field in form["body"]:
        assert field["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert field["attributes"]["label"]
        assert ("options" in field["attributes"]) == (field["type"] in {"dropdown", "checkboxes"})
    assert any(field.get("validations", {}).get("required") for field in form["body"])


def test_there_is_a_form_for_each_kind_of_issue() -> None:
    assert {path.stem for path in FORMS} == {"bug", "method", "number"}
    assert load(GITHUB / "ISSUE_TEMPLATE" / "config.yml")["blank_issues_enabled"] is False


def test_contributing_names_files_and_targets_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)]+)\)", text) + re.findall(r"`((?:\w+/)+[\w.]*|\.ci/run)`", text)
    assert len(linked) > 8
    for name in linked:
        assert (ROOT / name).exists() or "NAME" in name, name
    assert set(re.findall(r"^ {4}make ([\w-]+)", text, re.MULTILINE)) <= targets()
    for command in re.findall(r"python -m pytest (\S+)", text):
        assert (ROOT / command).exists(), command


def test_make_runs_tests_that_exist() -> None:
    """`make test-oldest` names single files, which a move would leave behind."""
    named = re.findall(r"(?<=[ '])tests/[\w/]+(?:\.py)?", (ROOT / "Makefile").read_text(encoding="utf-8"))
    assert len(named) > 6
    assert [name for name in named if not (ROOT / name).exists()] == []
