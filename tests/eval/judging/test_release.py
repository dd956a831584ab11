"""A release: every committed CSV is described, and a file that was edited by hand is found."""

import json
import subprocess
from pathlib import Path

import pytest

from eval.errors import RunError
from eval.judging.release import NAME, add, check, committed, repository_has
from eval.records import run_id
from eval.tables import build_table, write_table
from tests.eval.sample_records import make_record
from tests.eval.sample_runs import write_run
from tests.eval.sample_specs import make_spec

ROOT = Path(__file__).parents[3]
SHIPPED = {"ratio": 0.5, "window": {"down": 2, "mid": 8}}


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder with Table I, the runs behind it, a bench, and the dictionary of columns."""
    records = [make_record("none"), make_record("retom", **SHIPPED)]
    for record in records:
        record["provenance"] |= {"cpu": {"model": "AMD EPYC"}, "device": {"type": "cpu", "gpu": None}}
        write_run(tmp_path / "runs", record)
    write_table(build_table(make_spec(), records), tmp_path)
    for name in ("README.md", "bench_cpu.csv", "bench_cpu.json", "bench_cpu.md"):
        (tmp_path / name).write_bytes((ROOT / "results" / name).read_bytes())
    add(tmp_path / "table1.csv", "make table1", tmp_path)
    add(tmp_path / "bench_cpu.csv", "make bench", tmp_path)
    return tmp_path


def problems(results: Path, known: bool | None = True) -> list[str]:
    return check(results, committed(results), lambda commit: known)[0]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def test_what_was_added_is_described_and_right(results: Path) -> None:
    entry = json.loads((results / NAME).read_text())["files"]["table1.csv"]
    assert (entry["command"], entry["machines"], entry["rows"]) == ("make table1", ["AMD EPYC"], 4)
    assert entry["commits"] == ["c" * 40]
    assert [record["run_id"] for record in entry["records"]] == sorted(
        run_id(record) for record in (make_record("none"), make_record("retom", **SHIPPED))
    )
    assert set(entry["beside"]) == {"table1.md"}
    assert problems(results) == []


def test_a_csv_edited_by_hand_is_found(results: Path) -> None:
    edit(results / "table1.csv", "35.0", "34.0")
    assert "table1.csv is not the file that PROVENANCE.json describes" in problems(results)[0]


def test_a_bench_that_no_longer_agrees_with_its_json_is_found_and_not_added(results: Path) -> None:
    edit(results / "bench_cpu.csv", "ok", "failed")
    assert any("does not agree with bench_cpu.json" in problem for problem in problems(results))
    with pytest.raises(RunError, match=r"does not agree with bench_cpu\.json; write it again first"):
        add(results / "bench_cpu.csv", "make bench", results)


def test_other_files_besides_columns_and_statuses_are_checked(results: Path) -> None:
    edit(results / "table1.md", "35.00", "34.00")
    assert problems(results) == [
        "table1.csv comes with table1.md, which is not the file that PROVENANCE.json describes"
    ]
    edit(results / "table1.csv", "fid,", "fame,")
    edit(results / "table1.csv", ",ok,", ",fine,")
    found = " ".join(problems(results))
    assert "columns that README.md does not explain: fame" in found
    assert "the status 'fine'" in found


def test_a_file_without_an_entry_and_an_entry_without_a_file(results: Path) -> None:
    (results / "new.csv").write_text("model\na\n")
    (results / "table1.csv").unlink()
    found = problems(results)
    assert any("new.csv has no entry" in problem for problem in found)
    assert any("describes table1.csv, which does not exist" in problem for problem in found)


def test_commits_must_be_the_repositorys(results: Path) -> None:
    assert sum("is not in this repository" in problem for problem in problems(results, known=False)) == 2
    output = check(results, committed(results), lambda commit: None)
    assert (output[0], len(output[1])) == ([], 2)


def test_records_that_are_not_here_are_said_and_are_no_problem(results: Path) -> None:
    next((results / "runs").glob("*/*/record.json")).unlink()
    found, unchecked = check(results, committed(results), lambda commit: True)
    assert found == []
    assert "table1.csv: 1 of 2 records" in unchecked[0]
    with pytest.raises(RunError, match="while its runs are available"):
        add(results / "table1.csv", "make table1", results)


def test_what_cannot_be_traced_is_not_added(results: Path) -> None:
    (results / "own.csv").write_text("model\na\n")
    with pytest.raises(RunError, match="cannot be traced"):
        add(results / "own.csv", "by hand", results)
    with pytest.raises(RunError, match="is not a CSV file in"):
        add(ROOT / "results" / "bench_cpu.csv", "make bench", results)
    (results / NAME).write_text('{"files": {"table1.csv": {}}}')
    with pytest.raises(RunError, match="restore it from the repository"):
        problems(results)


def test_commits_are_looked_up_in_the_checkout(tmp_path: Path) -> None:
    has = repository_has(ROOT)
    head = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    assert has(head.stdout.strip()) is True
    assert has("c" * 40) in (False, None)
    assert has("HEAD") is False
    assert repository_has(tmp_path)("c" * 40) is None


def test_this_release_is_right() -> None:
    found, _ = check(ROOT / "results", committed(ROOT / "results"), repository_has(ROOT))
    assert found == []
