from pathlib import Path

from eval.records import RunFolder, is_finished, load_records, run_id
from tests.eval.sample_records import make_record


def keep(root: Path, record: dict) -> None:
    RunFolder(root, record["experiment"], record["method"], record["pixel_hash"]).write_record(record)


def test_a_run_is_finished_under_its_own_protocol_only() -> None:
    ok, invalid, failed = make_record(), make_record(invalid=50), make_record(status="failed")
    assert is_finished(ok, ok["protocol"])
    assert is_finished(invalid, ok["protocol"])
    assert not is_finished(ok, ok["protocol"] | {"reference_hash": "other"})
    assert not is_finished(failed, failed["protocol"])
    assert not is_finished(None, ok["protocol"])


def test_all_records_are_found_in_one_order(tmp_path: Path) -> None:
    records = [make_record(name, experiment=group) for name in ("b", "a") for group in ("table2", "table1")]
    for record in records:
        keep(tmp_path, record)
    (tmp_path / "table1" / "c-000000000000").mkdir()
    names = [run_id(record).rpartition("-")[0] for record in load_records(tmp_path)]
    assert names == ["table1/a", "table1/b", "table2/a", "table2/b"]
    assert {record["experiment"] for record in load_records(tmp_path, "table2")} == {"table2"}
    assert load_records(tmp_path / "absent") == []


def test_an_unreadable_record_is_reported_and_the_others_are_read(tmp_path: Path) -> None:
    record, other = make_record(), make_record("none")
    keep(tmp_path, record)
    path = next(tmp_path.glob("*/*/record.json"))
    keep(tmp_path, other)
    moved = tmp_path / "table1" / "tomesd-000000000000"
    path.parent.rename(moved)
    output: list[str] = []
    assert load_records(tmp_path, warn=output.append) == [other]
    (moved / "record.json").write_text("{")
    assert load_records(tmp_path, warn=output.append) == [other]
    assert len(output) == 2
    assert f"is the record of {run_id(record)};" in output[0]
    assert "record.json is not a record of version 1" in output[1]
    assert "it counts as unfinished: run this row again" in output[1]


def test_without_a_listener_the_log_tells(tmp_path: Path, caplog) -> None:
    keep(tmp_path, make_record())
    next(tmp_path.glob("*/*/record.json")).write_text("")
    assert load_records(tmp_path) == []
    assert "is not a record of version 1" in caplog.text
