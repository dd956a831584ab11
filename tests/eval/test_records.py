from pathlib import Path

import pytest

from eval.errors import RunError
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


def test_a_record_is_never_left_out_silently(tmp_path: Path) -> None:
    record = make_record()
    keep(tmp_path, record)
    path = next(tmp_path.glob("*/*/record.json"))
    moved = tmp_path / "table1" / "tomesd-000000000000"
    path.parent.rename(moved)
    with pytest.raises(RunError, match=f"holds the record of {run_id(record)};"):
        load_records(tmp_path)
    (moved / "record.json").write_text("{")
    with pytest.raises(RunError, match=r"record.json is not a record of version 1 \(.*\); run this row again"):
        load_records(tmp_path)
