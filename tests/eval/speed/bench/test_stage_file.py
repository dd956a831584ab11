"""What a stage's file lets a later run keep."""

import json
from pathlib import Path

import pytest

from eval.atomic import write_json
from eval.errors import RunError
from eval.speed.bench.stage_file import StageFile, fingerprint, read_stage, stage_facts

SAME = {"device": "card", "code": "abc"}


def written(path: Path, rows: list[dict], **facts) -> StageFile:
    write_json(path, {"stage": stage_facts(**({"same": SAME} | facts)), "rows": rows})
    return read_stage(path)


def row(method: str, status: str = "ok", title: str = "a") -> dict:
    return {"title": title, "method": method, "status": status}


def test_good_rows_of_the_same_card_and_code_are_reused(tmp_path: Path) -> None:
    found = written(tmp_path / "a.json", [row("none"), row("atc", "failed"), row("none", title="b")], running="b")
    kept = found.of(SAME)
    assert kept.measured("a", ("atc", "none")) == [row("none")]
    assert (kept.failed("a"), kept.failed("b"), kept.failed("c")) == (True, True, False)
    assert found.of({**SAME, "code": "other"}) == StageFile()
    assert found.of({**SAME, "tests": "1"}) == StageFile()  # a file that does not say is of something else


def test_a_file_may_be_of_more_than_is_asked_for(tmp_path: Path) -> None:
    assert written(tmp_path / "a.json", [row("none")], same={**SAME, "tests": "1"}).of(SAME).rows


def test_there_need_be_no_file(tmp_path: Path) -> None:
    assert read_stage(tmp_path / "a.json").of(SAME) == StageFile()


@pytest.mark.parametrize("text", ["{", "[]", '{"rows": []}', '{"stage": {}, "rows": []}', '{"stage": 1, "rows": [1]}'])
def test_a_damaged_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    with pytest.raises(RunError, match=r"a\.json cannot be read \(.*\); delete it to measure its rows again"):
        read_stage(tmp_path / "a.json")


def test_a_row_without_its_cell_is_damage(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no key 'title'"):
        written(tmp_path / "a.json", [{"method": "none", "status": "ok"}])


def test_the_fingerprint_is_that_of_code_and_choices(tmp_path: Path) -> None:
    (tmp_path / "code").mkdir()
    for name, text in (("a.py", "1"), ("b.yaml", "2"), ("c.txt", "3")):
        (tmp_path / "code" / name).write_text(text, encoding="utf-8")
    (tmp_path / "one.py").write_text("4", encoding="utf-8")
    first = fingerprint(tmp_path, ["code", "one.py"])
    assert first == fingerprint(tmp_path, ["one.py", "code"])
    assert len(first) == 12
    (tmp_path / "code" / "c.txt").write_text("changed", encoding="utf-8")
    assert fingerprint(tmp_path, ["code", "one.py"]) == first
    seen = {first, fingerprint(tmp_path, ["code"])}
    (tmp_path / "code" / "b.yaml").write_text("changed", encoding="utf-8")
    seen.add(fingerprint(tmp_path, ["code", "one.py"]))
    (tmp_path / "code" / "a.py").rename(tmp_path / "code" / "d.py")
    seen.add(fingerprint(tmp_path, ["code", "one.py"]))
    assert len(seen) == 4


def test_the_file_is_plain_json() -> None:
    assert json.loads(json.dumps(stage_facts(SAME, "a", ("b",)))) == {"same": SAME, "running": "a", "notes": ["b"]}
