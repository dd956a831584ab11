"""Submissions: every shipped method is on the tiny track, and each forgery of a real one is refused in one line."""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts import check_submissions
from scripts.command_line.entry import ROOT
from scripts.tables import method_labels
from tests.scripts.forging import FORGERIES, copied, edit, only, rescale, tampered_image

TREE = ROOT / "submissions"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of two real submissions of one environment, ReToM's and ToMeSD's, and the published protocols."""
    for name in ("retom", "tomesd"):
        shutil.copytree(TREE / name, tmp_path / "submissions" / name)
    shutil.copy(TREE / "protocols.json", tmp_path / "submissions")
    return tmp_path / "submissions"


def check(command: Callable[..., int], tree: Path, capsys, *arguments: str) -> tuple[int, list[str]]:
    """Exit status and what was refused."""
    status = command(check_submissions, f"submissions={tree}", f"board={tree.parent / 'page.md'}", *arguments)
    lines = capsys.readouterr().out.splitlines()
    return status, [line for line in lines if not line.startswith("not checked")]


def test_every_shipped_method_is_on_the_tiny_track(command, capsys) -> None:
    """The committed submissions hold, and the page is theirs."""
    status = command(check_submissions, f"submissions={TREE}", f"board={ROOT / 'docs/leaderboard.md'}")
    assert (status, capsys.readouterr().out) == (0, "")
    assert {path.name for path in TREE.iterdir() if path.is_dir()} >= set(method_labels())
    assert sum(path.stat().st_size for path in TREE.rglob("*") if path.is_file()) < 5_000_000


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forgery_is_refused_in_one_line(name: str, tree: Path, command, capsys) -> None:
    forge, sentence = FORGERIES[name]
    forge(only(tree, "retom"))
    status, lines = check(command, tree, capsys, "write=true")
    assert status == 1
    assert len(lines) == 1, lines
    assert re.search(sentence, lines[0]), lines[0]
    assert lines[0].startswith("rejected: ")


def test_a_forged_source_is_refused(tree: Path, command, capsys) -> None:
    folder = only(tree, "retom")
    sha = json.loads((folder / "record.json").read_text())["provenance"]["git"]["sha"]
    if subprocess.run(["git", "-C", str(ROOT), "cat-file", "-e", sha], check=False).returncode:
        pytest.skip(f"commit {sha} is not in this checkout")
    edit(folder, "method.json", lambda method: method["source"].update(sha256="0" * 64))
    status, lines = check(command, tree, capsys, "write=true")
    assert (status, len(lines)) == (1, 1)
    assert "another source hash than retom/ at commit" in lines[0]


def test_an_invalid_record_stays_listed_and_counts_nowhere(tree: Path, command, capsys) -> None:
    folder = only(tree, "retom")
    tampered_image(folder)
    mark = {"by": "A. Reader", "date": "2026-11-28", "why": "the images are black"}
    (folder / "invalid.json").write_text(json.dumps(mark))
    assert check(command, tree, capsys, "write=true") == (0, [])
    page = (tree.parent / "page.md").read_text()
    assert "| A. Reader | 2026-11-28 | the images are black |" in page
    assert "`retom`" not in page.partition("## Marked invalid")[0]
    (folder / "invalid.json").write_text(json.dumps({"by": "A. Reader"}))
    status, lines = check(command, tree, capsys, "write=true")
    assert status == 1
    assert "invalid.json does not follow schema/invalid-1.json" in lines[0]


@pytest.mark.parametrize(("moved", "reproduced"), [(0.0, 2), (9.0, 0)])
def test_a_second_partys_record_within_the_intervals_reproduces(moved, reproduced, tree, command, capsys) -> None:
    other = copied(only(tree, "retom"))

    def repeat(record: dict) -> None:
        rescale(record, 1.01)
        record["metrics"]["fid_smoke"]["value"] += moved
        record["metrics"]["fid_smoke"]["differences"]["none"]["value"] += moved

    edit(other, "record.json", repeat)
    assert check(command, tree, capsys, "write=true") == (0, [])
    assert (tree.parent / "page.md").read_text().count("reported, reproduced") == reproduced


def test_a_page_that_is_not_what_the_submissions_say_is_found(tree: Path, command, capsys) -> None:
    status, lines = check(command, tree, capsys)
    assert status == 1
    assert "page.md is not what the submissions say; run python -m scripts.check_submissions write=true" in lines[0]
    assert check(command, tree, capsys, "write=true") == (0, [])
    assert check(command, tree, capsys) == (0, [])
